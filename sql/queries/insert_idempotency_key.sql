-- Claims a key that is new or has expired. No row: another upload has it.
INSERT INTO idempotency_keys (user_id, key, upload_id, fingerprint, expires_at)
VALUES
    (%(user_id)s, %(key)s, %(upload_id)s, %(fingerprint)s, now() + make_interval(secs => %(lease_seconds)s))
ON CONFLICT (user_id, key) DO UPDATE
SET
    upload_id = EXCLUDED.upload_id,
    fingerprint = EXCLUDED.fingerprint,
    is_done = false,
    expires_at = EXCLUDED.expires_at
WHERE idempotency_keys.expires_at <= now() OR idempotency_keys.upload_id = EXCLUDED.upload_id
RETURNING upload_id
