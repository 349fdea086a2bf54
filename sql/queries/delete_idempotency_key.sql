-- A failed upload frees its key; a done one keeps it.
DELETE FROM idempotency_keys WHERE upload_id = %(upload_id)s AND NOT is_done
