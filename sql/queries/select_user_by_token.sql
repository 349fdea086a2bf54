SELECT id, username, created_at FROM users WHERE token_sha256 = %(token_sha256)s
