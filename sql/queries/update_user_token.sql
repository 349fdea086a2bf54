-- The operator's way: the old token is dead at once.
UPDATE users
SET
    token_sha256 = %(token_sha256)s,
    token_created_at = now(),
    token_used_at = NULL,
    pending_token_sha256 = NULL,
    pending_token_created_at = NULL
WHERE id = %(id)s AND deleted_at IS NULL
RETURNING id
