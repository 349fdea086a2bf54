-- A second run with the same token finds the first run's row.
INSERT INTO users (username, token_sha256)
VALUES (%(username)s, %(token_sha256)s)
ON CONFLICT (token_sha256) DO UPDATE SET username = EXCLUDED.username
RETURNING
    id, username, created_at, record_count, byte_count, token_sha256, token_used_at, disabled_at IS NOT NULL AS is_disabled
