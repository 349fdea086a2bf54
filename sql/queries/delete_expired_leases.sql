WITH slots AS (
    DELETE FROM upload_slots WHERE expires_at <= now()
)
DELETE FROM idempotency_keys WHERE expires_at <= now()
