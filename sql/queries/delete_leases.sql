-- Ended uploads give back their leases. The key of a failed upload is free again; the key of a done one stays.
WITH ended AS (
    DELETE FROM upload_leases WHERE upload_id = ANY(%(upload_ids)s::uuid[])
)

DELETE FROM idempotency_keys WHERE upload_id = ANY(%(upload_ids)s::uuid[]) AND NOT is_done
