UPDATE users SET token_sha256 = %(token_sha256)s WHERE id = %(id)s
