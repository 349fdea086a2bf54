-- Gives back what ended uploads hold: their leases, and the keys of those that failed. The keys of done ones stay.
WITH ended AS (
    DELETE FROM upload_leases WHERE upload_id = ANY(%(upload_ids)s::uuid[])
)

DELETE FROM idempotency_keys WHERE upload_id = ANY(%(upload_ids)s::uuid[]) AND NOT is_done
