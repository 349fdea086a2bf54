-- Takes one of the user's leases that is free or has expired, or renews the one that the upload has already. If one was
-- free and none is taken, another upload has taken it at this moment. Numbers are unique for a user, so two uploads
-- never hold the same lease.
WITH free AS (
    SELECT numbers.number
    FROM generate_series(1, %(max_uploads)s) AS numbers (number)
    LEFT JOIN upload_leases AS held
        ON held.user_id = %(user_id)s AND held.number = numbers.number AND held.expires_at > now()
    WHERE held.upload_id IS NULL OR held.upload_id = %(upload_id)s
    ORDER BY held.upload_id NULLS LAST, random()
    LIMIT 1
),

taken AS (
    INSERT INTO upload_leases (user_id, number, upload_id, holder, expires_at)
    SELECT %(user_id)s, free.number, %(upload_id)s, %(holder)s, now() + make_interval(secs => %(lease_seconds)s)
    FROM free
    ON CONFLICT (user_id, number) DO UPDATE
    SET upload_id = EXCLUDED.upload_id, holder = EXCLUDED.holder, expires_at = EXCLUDED.expires_at
    WHERE upload_leases.expires_at <= now() OR upload_leases.upload_id = EXCLUDED.upload_id
    RETURNING number
)

SELECT EXISTS (SELECT FROM taken) AS is_taken, EXISTS (SELECT FROM free) AS was_free
