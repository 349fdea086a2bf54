-- Makes the new token the only one, at its first use.
UPDATE users
SET
    token_sha256 = pending_token_sha256,
    token_created_at = pending_token_created_at,
    token_used_at = now(),
    pending_token_sha256 = NULL,
    pending_token_created_at = NULL
WHERE id = %(id)s AND pending_token_sha256 = %(token_sha256)s
