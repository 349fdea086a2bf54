SELECT code, detail, body_offset
FROM ended_uploads
WHERE
    id = %(id)s
    AND user_id = %(user_id)s
    AND ended_at > now() - make_interval(secs => %(kept_seconds)s)
