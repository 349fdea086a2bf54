-- Deleted users without a record. Replicas of the version before may insert one just now; they count it in the same
-- transaction, so the row that this statement locks has another count then, and stays.
WITH without_records AS (
    SELECT id, record_count
    FROM users
    WHERE deleted_at IS NOT NULL AND NOT EXISTS (SELECT FROM records WHERE records.user_id = users.id)
    LIMIT %(limit)s
)

DELETE FROM users
USING without_records
WHERE users.id = without_records.id AND users.record_count = without_records.record_count
RETURNING users.id
