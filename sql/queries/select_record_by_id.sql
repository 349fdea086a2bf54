SELECT
    id, user_id, filename, duration, sample_rate, channels, bit_rate, size, encode(sha256, 'hex') AS sha256, warnings,
    warning_codes, created_at
FROM records
WHERE id = %(id)s
