WITH gone AS (
    DELETE FROM records WHERE id = ANY(%(ids)s::uuid[]) RETURNING user_id, size
),

sums AS (
    SELECT user_id, count(*) AS record_count, sum(size) AS byte_count FROM gone GROUP BY user_id
)

UPDATE users
SET record_count = users.record_count - sums.record_count, byte_count = users.byte_count - sums.byte_count
FROM sums
WHERE users.id = sums.user_id
