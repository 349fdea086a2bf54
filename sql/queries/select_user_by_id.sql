SELECT id, username, created_at FROM users WHERE id = %(id)s
