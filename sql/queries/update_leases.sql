-- Renews what uploads hold: their upload leases, and the idempotency keys that are not done.
WITH renewed AS (
    UPDATE upload_leases
    SET expires_at = now() + make_interval(secs => %(lease_seconds)s)
    WHERE upload_id = ANY(%(upload_ids)s::uuid[])
)

UPDATE idempotency_keys
SET expires_at = now() + make_interval(secs => %(lease_seconds)s)
WHERE upload_id = ANY(%(upload_ids)s::uuid[]) AND NOT is_done
