-- Finds the process that holds an upload, and whether its record is there already. Both are of the same moment: one
-- statement keeps the record and gives the lease back.
SELECT
    (
        SELECT holder
        FROM upload_leases
        WHERE upload_id = %(upload_id)s AND expires_at > now()
    ) AS holder,
    EXISTS (SELECT FROM records WHERE id = %(upload_id)s) AS has_record
