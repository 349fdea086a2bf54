WITH expired AS (
    DELETE FROM upload_leases WHERE expires_at <= now()
)

DELETE FROM idempotency_keys WHERE expires_at <= now()
