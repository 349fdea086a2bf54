-- Notes how an upload failed. Only the user's newest ones of the last hour are kept.
WITH forgotten AS (
    DELETE FROM ended_uploads
    WHERE
        user_id = %(user_id)s
        AND (
            ended_at <= now() - make_interval(secs => %(kept_seconds)s)
            OR id IN (
                SELECT id FROM ended_uploads
                WHERE user_id = %(user_id)s
                ORDER BY ended_at DESC
                OFFSET %(most)s - 1
            )
        )
)

INSERT INTO ended_uploads (id, user_id, code, detail, body_offset)
VALUES (%(id)s, %(user_id)s, %(code)s, %(detail)s, %(body_offset)s)
ON CONFLICT (id) DO NOTHING
