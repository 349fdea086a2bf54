-- Keeps a record if its user is there, has room for it, and no other upload has its idempotency key. A second
-- run with the same id changes nothing. The user's row is locked first, so that uploads side by side cannot pass
-- a limit together; what the locked row says is the latest, whatever the statement's snapshot is.
WITH owner AS (
    SELECT
        id,
        record_count < %(max_records)s AND byte_count < %(max_bytes)s AS has_room
    FROM users
    WHERE id = %(user_id)s
    FOR UPDATE
),

-- The upload's own key, or one that nobody has: its lease ran out in an outage, or its row has gone since. Keys are done
-- only with a record, so the conditions are those of `inserted`. A second writer of a key waits here for the first.
own_key AS (
    INSERT INTO idempotency_keys (user_id, key, upload_id, fingerprint, is_done, expires_at)
    SELECT
        owner.id, %(idempotency_key)s, %(id)s, %(fingerprint)s, true,
        now() + make_interval(secs => %(key_seconds)s)
    FROM owner
    WHERE owner.has_room AND %(idempotency_key)s::text IS NOT NULL
    ON CONFLICT (user_id, key) DO UPDATE
    SET
        upload_id = EXCLUDED.upload_id,
        fingerprint = EXCLUDED.fingerprint,
        is_done = true,
        expires_at = EXCLUDED.expires_at
    WHERE idempotency_keys.upload_id = EXCLUDED.upload_id OR idempotency_keys.expires_at <= now()
    RETURNING key
),

inserted AS (
    INSERT INTO records
        (id, user_id, filename, duration, sample_rate, channels, bit_rate, size, sha256, warnings,
         warning_codes, created_at)
    SELECT
        %(id)s, owner.id, %(filename)s, %(duration)s, %(sample_rate)s, %(channels)s, %(bit_rate)s, %(size)s,
        decode(%(sha256)s, 'hex'), %(warnings)s::text[], %(warning_codes)s::text[], %(created_at)s
    FROM owner
    WHERE owner.has_room AND (%(idempotency_key)s::text IS NULL OR EXISTS (SELECT FROM own_key))
    ON CONFLICT (id) DO NOTHING
    RETURNING id, user_id, size
),

counted AS (
    UPDATE users
    SET record_count = record_count + 1, byte_count = byte_count + inserted.size
    FROM inserted
    WHERE users.id = inserted.user_id
)

SELECT
    EXISTS (SELECT FROM inserted) OR EXISTS (SELECT FROM records WHERE id = %(id)s) AS is_kept,
    EXISTS (SELECT FROM owner) AS has_owner,
    %(idempotency_key)s::text IS NULL
    OR EXISTS (SELECT FROM own_key)
    OR NOT EXISTS (SELECT FROM owner WHERE has_room) AS has_key
