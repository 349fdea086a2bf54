-- Uploads whose user or token may upload no more.
SELECT uploads.id, coalesce(users.disabled_at IS NOT NULL, false) AS is_disabled
FROM unnest(%(ids)s::uuid[], %(user_ids)s::bigint[], %(tokens_sha256)s::bytea[]) AS uploads (id, user_id, token_sha256)
LEFT JOIN users
    ON users.id = uploads.user_id AND uploads.token_sha256 IN (users.token_sha256, users.pending_token_sha256)
WHERE users.id IS NULL OR users.disabled_at IS NOT NULL OR users.deleted_at IS NOT NULL
