-- Takes one of the user's leases that is free or has expired. No row: all are taken, or another upload has just taken
-- this one. Numbers are unique for a user, so two uploads never hold the same lease.
INSERT INTO upload_leases (user_id, number, upload_id, holder, expires_at)
SELECT %(user_id)s, number, %(upload_id)s, %(holder)s, now() + make_interval(secs => %(lease_seconds)s)
FROM generate_series(1, %(max_uploads)s) AS numbers (number)
WHERE NOT EXISTS (
    SELECT FROM upload_leases AS taken
    WHERE taken.user_id = %(user_id)s AND taken.number = numbers.number AND taken.expires_at > now()
)
ORDER BY random()
LIMIT 1
ON CONFLICT (user_id, number) DO UPDATE
SET upload_id = EXCLUDED.upload_id, holder = EXCLUDED.holder, expires_at = EXCLUDED.expires_at
WHERE upload_leases.expires_at <= now() OR upload_leases.upload_id = EXCLUDED.upload_id
RETURNING number
