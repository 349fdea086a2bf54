SELECT
    id, username, created_at, record_count, byte_count, token_sha256, token_used_at, disabled_at IS NOT NULL AS is_disabled,
    pending_token_sha256,
    token_sha256 <> %(token_sha256)s AS is_pending,
    coalesce(token_used_at > now() - make_interval(secs => %(use_seconds)s), false) AS is_use_noted,
    coalesce(
        CASE WHEN token_sha256 = %(token_sha256)s THEN token_created_at ELSE pending_token_created_at END
        <= now() - make_interval(secs => %(lifetime_seconds)s::double precision),
        false
    ) AS is_expired
FROM users
WHERE (token_sha256 = %(token_sha256)s OR pending_token_sha256 = %(token_sha256)s) AND deleted_at IS NULL
