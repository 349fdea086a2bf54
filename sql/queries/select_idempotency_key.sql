SELECT user_id, key, upload_id, fingerprint, is_done
FROM idempotency_keys
WHERE user_id = %(user_id)s AND key = %(key)s AND expires_at > now()
