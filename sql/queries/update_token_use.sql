-- Waits for nobody: a use that is noted a moment later will do.
UPDATE users
SET token_used_at = now()
WHERE id = (SELECT users.id FROM users WHERE users.id = %(id)s FOR NO KEY UPDATE SKIP LOCKED)
