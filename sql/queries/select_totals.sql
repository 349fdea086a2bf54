SELECT
    count(*) FILTER (WHERE deleted_at IS NULL) AS user_count,
    coalesce(sum(byte_count), 0)::bigint AS byte_count
FROM users
