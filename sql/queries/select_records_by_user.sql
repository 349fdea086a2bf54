SELECT
    id, user_id, filename, duration, sample_rate, channels, bit_rate, size, encode(sha256, 'hex') AS sha256, warnings,
    warning_codes, created_at, expires_at, is_complete, source_size
FROM records
WHERE
    user_id = %(user_id)s
    AND (expires_at IS NULL OR expires_at > now())
    AND (%(name_patterns)s::text[] IS NULL OR filename ~ ANY (%(name_patterns)s::text[]))
    AND (
        %(after_created_at)s::timestamptz IS NULL
        OR (created_at, id) < (%(after_created_at)s::timestamptz, %(after_id)s::uuid)
    )
ORDER BY created_at DESC, id DESC
LIMIT %(limit)s
