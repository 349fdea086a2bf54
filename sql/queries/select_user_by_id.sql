SELECT id, username, created_at, record_count, byte_count FROM users WHERE id = %(id)s
