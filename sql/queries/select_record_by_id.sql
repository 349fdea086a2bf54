-- What is over, or its user's who is disabled or deleted, is not there for anybody.
SELECT
    records.id, user_id, filename, duration, sample_rate, channels, bit_rate, size, encode(sha256, 'hex') AS sha256,
    warnings, warning_codes, records.created_at, expires_at, is_complete, source_size
FROM records
INNER JOIN users ON users.id = records.user_id
WHERE
    records.id = %(id)s
    AND (expires_at IS NULL OR expires_at > now())
    AND users.disabled_at IS NULL
    AND users.deleted_at IS NULL
