SELECT
    id, username, created_at, record_count, byte_count, token_sha256, token_used_at, disabled_at IS NOT NULL AS is_disabled
FROM users
WHERE id = %(id)s AND deleted_at IS NULL
