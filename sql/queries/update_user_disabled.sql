UPDATE users
SET disabled_at = CASE WHEN %(is_disabled)s THEN coalesce(disabled_at, now()) END
WHERE id = %(id)s AND deleted_at IS NULL
RETURNING id
