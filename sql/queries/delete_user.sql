-- Returns the ids of the records, whose files go next.
WITH gone AS (
    DELETE FROM records WHERE user_id = %(id)s RETURNING id
),

deleted AS (
    DELETE FROM users WHERE id = %(id)s
)

SELECT id FROM gone
