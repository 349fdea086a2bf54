-- Ended uploads give back their slots; a failed one frees its key, a done one keeps it.
WITH slots AS (
    DELETE FROM upload_slots WHERE upload_id = ANY(%(upload_ids)s::uuid[])
)
DELETE FROM idempotency_keys WHERE upload_id = ANY(%(upload_ids)s::uuid[]) AND NOT is_done
