-- Records whose time is over, and those of deleted users.
(SELECT id FROM records WHERE expires_at <= now() ORDER BY expires_at LIMIT %(limit)s)
UNION
(
    SELECT theirs.id
    FROM users
    CROSS JOIN LATERAL (SELECT records.id FROM records WHERE records.user_id = users.id LIMIT %(limit)s) AS theirs
    WHERE users.deleted_at IS NOT NULL
    LIMIT %(limit)s
)
