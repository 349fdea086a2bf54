-- The token that replaces the user's is nobody's, so no version of the service takes the old one any more. It also tells
-- a second run, after a lost answer, from another deletion.
UPDATE users
SET
    deleted_at = coalesce(deleted_at, now()),
    token_sha256 = %(nobodys_token_sha256)s,
    pending_token_sha256 = NULL,
    pending_token_created_at = NULL
WHERE id = %(id)s AND (deleted_at IS NULL OR token_sha256 = %(nobodys_token_sha256)s)
RETURNING id
