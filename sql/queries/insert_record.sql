-- Keeps a record if its user exists, is not disabled and has room for it, if its token is still the user's, and if its
-- upload still has its idempotency key. A second run with the same id changes nothing. The user's row is locked first,
-- so that parallel uploads cannot pass a limit together. A locked row has the latest values, even if the statement's
-- snapshot is older.
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

own_key AS (
    SELECT key
    FROM idempotency_keys
    WHERE user_id = %(user_id)s AND key = %(idempotency_key)s AND upload_id = %(id)s
    FOR UPDATE
),

inserted AS (
    INSERT INTO records
        (id, user_id, filename, duration, sample_rate, channels, bit_rate, size, sha256, warnings,
         warning_codes, created_at, expires_at)
    SELECT
        %(id)s, owner.id, %(filename)s, %(duration)s, %(sample_rate)s, %(channels)s, %(bit_rate)s, %(size)s,
        decode(%(sha256)s, 'hex'), %(warnings)s::text[], %(warning_codes)s::text[], %(created_at)s, %(expires_at)s
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

marked AS (
    UPDATE idempotency_keys
    SET is_done = true, expires_at = now() + make_interval(secs => %(key_seconds)s)
    FROM inserted
    WHERE idempotency_keys.upload_id = inserted.id
)

SELECT
    EXISTS (SELECT FROM inserted) OR EXISTS (SELECT FROM records WHERE id = %(id)s) AS is_kept,
    EXISTS (SELECT FROM owner WHERE has_token) AS has_owner,
    EXISTS (SELECT FROM owner WHERE is_disabled) AS is_disabled,
    %(idempotency_key)s::text IS NULL OR EXISTS (SELECT FROM own_key) AS has_key
