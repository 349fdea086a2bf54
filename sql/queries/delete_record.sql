WITH gone AS (
    DELETE FROM records WHERE id = %(id)s AND user_id = %(user_id)s RETURNING id, user_id, size
),

counted AS (
    UPDATE users
    SET record_count = record_count - 1, byte_count = byte_count - gone.size
    FROM gone
    WHERE users.id = gone.user_id
)

SELECT id FROM gone
