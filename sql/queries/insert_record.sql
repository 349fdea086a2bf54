-- A second run with the same id leaves the first run's row, and the user's sums, as they are. Says whether the
-- record is kept: it is not where its upload has lost its idempotency key to another.
WITH own_key AS (
    UPDATE idempotency_keys
    SET is_done = true, expires_at = now() + make_interval(secs => %(key_seconds)s)
    WHERE user_id = %(user_id)s AND key = %(idempotency_key)s AND upload_id = %(id)s
    RETURNING key
),

inserted AS (
    INSERT INTO records
        (id, user_id, filename, duration, sample_rate, channels, bit_rate, size, sha256, warnings, created_at)
    SELECT
        %(id)s, %(user_id)s, %(filename)s, %(duration)s, %(sample_rate)s, %(channels)s, %(bit_rate)s, %(size)s,
        decode(%(sha256)s, 'hex'), %(warnings)s::text[], %(created_at)s
    WHERE %(idempotency_key)s::text IS NULL OR EXISTS (SELECT FROM own_key)
    ON CONFLICT (id) DO NOTHING
    RETURNING user_id, size
),

counted AS (
    UPDATE users
    SET record_count = record_count + 1, byte_count = byte_count + inserted.size
    FROM inserted
    WHERE users.id = inserted.user_id
)

SELECT %(idempotency_key)s::text IS NULL OR EXISTS (SELECT FROM own_key) AS is_kept
