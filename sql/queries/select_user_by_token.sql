SELECT id, username, created_at, record_count, byte_count FROM users WHERE token_sha256 = %(token_sha256)s
