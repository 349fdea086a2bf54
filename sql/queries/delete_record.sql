WITH gone AS (
    DELETE FROM records WHERE id = %(id)s RETURNING user_id, size
)

UPDATE users
SET record_count = record_count - 1, byte_count = byte_count - gone.size
FROM gone
WHERE users.id = gone.user_id
