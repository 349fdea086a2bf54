-- Keeps a record if its user exists, is not disabled and has room for it, if its token is still the user's, and if no
-- other upload has its idempotency key. Then it gives the upload's lease back. A second run with the same id changes
-- nothing. The user's row is locked first, so that parallel uploads cannot pass a limit together. A locked row has the
-- latest values, even if the statement's snapshot is older.
WITH owner AS (
    SELECT
        id,
        deleted_at IS NULL
        AND (token_sha256 = %(token_sha256)s OR coalesce(pending_token_sha256 = %(token_sha256)s, false)) AS has_token,
        disabled_at IS NOT NULL AS is_disabled,
        record_count < %(max_records)s AND byte_count < %(max_bytes)s AS has_room
    FROM users
    WHERE id = %(user_id)s
    FOR UPDATE
),

-- The upload's own key, or one that nobody has because its lease ran out in an outage. A key is done only with its
-- record, so the conditions are those of `inserted`. Of two uploads with the same key, the second waits here.
own_key AS (
    INSERT INTO idempotency_keys (user_id, key, upload_id, fingerprint, is_done, expires_at)
    SELECT
        owner.id, %(idempotency_key)s, %(id)s, %(fingerprint)s, true,
        now() + make_interval(secs => %(key_seconds)s)
    FROM owner
    WHERE
        owner.has_token
        AND NOT owner.is_disabled
        AND owner.has_room
        AND %(idempotency_key)s::text IS NOT NULL
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
         warning_codes, created_at, expires_at, is_complete, source_size, peaks)
    SELECT
        %(id)s, owner.id, %(filename)s, %(duration)s, %(sample_rate)s, %(channels)s, %(bit_rate)s, %(size)s,
        decode(%(sha256)s, 'hex'), %(warnings)s::text[], %(warning_codes)s::text[], %(created_at)s, %(expires_at)s,
        %(is_complete)s, %(source_size)s, %(peaks)s
    FROM owner
    WHERE
        owner.has_token
        AND NOT owner.is_disabled
        AND owner.has_room
        AND (%(idempotency_key)s::text IS NULL OR EXISTS (SELECT FROM own_key))
    ON CONFLICT (id) DO NOTHING
    RETURNING id, user_id, size
),

counted AS (
    UPDATE users
    SET record_count = record_count + 1, byte_count = byte_count + inserted.size
    FROM inserted
    WHERE users.id = inserted.user_id
),

given_back AS (
    DELETE FROM upload_leases USING inserted WHERE upload_leases.upload_id = inserted.id
)

SELECT
    EXISTS (SELECT FROM inserted) OR EXISTS (SELECT FROM records WHERE id = %(id)s) AS is_kept,
    EXISTS (SELECT FROM owner WHERE has_token) AS has_owner,
    EXISTS (SELECT FROM owner WHERE is_disabled) AS is_disabled,
    %(idempotency_key)s::text IS NULL
    OR EXISTS (SELECT FROM own_key)
    OR NOT EXISTS (SELECT FROM owner WHERE has_room) AS has_key
