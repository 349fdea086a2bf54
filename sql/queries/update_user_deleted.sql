-- The token that replaces the user's is nobody's, so no version of the service takes the old one any more.
UPDATE users
SET
    deleted_at = now(),
    token_sha256 = %(nobodys_token_sha256)s,
    pending_token_sha256 = NULL,
    pending_token_created_at = NULL
WHERE id = %(id)s AND deleted_at IS NULL
RETURNING id
