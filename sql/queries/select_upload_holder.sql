-- Finds the process that holds an upload.
SELECT holder
FROM upload_leases
WHERE upload_id = %(upload_id)s AND holder IS NOT NULL AND expires_at > now()
