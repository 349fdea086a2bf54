-- Offers a new token beside the old one. No row: the old one is dead, or another new one has been offered meanwhile.
-- A statement that was given up may run late; it must not replace a token that has been told since.
UPDATE users
SET pending_token_sha256 = %(new_token_sha256)s, pending_token_created_at = now()
WHERE
    id = %(id)s
    AND token_sha256 = %(token_sha256)s
    AND (
        pending_token_sha256 IS NOT DISTINCT FROM %(pending_token_sha256)s
        OR pending_token_sha256 = %(new_token_sha256)s
    )
RETURNING id
