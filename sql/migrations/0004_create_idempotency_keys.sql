-- depends: 0003_create_upload_slots

-- While its upload runs, a key is a lease that the process renews. After that, the key stays until it expires.
CREATE TABLE IF NOT EXISTS idempotency_keys (
    user_id bigint NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    key text NOT NULL,
    upload_id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    is_done boolean NOT NULL DEFAULT false,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, key)
);
CREATE INDEX IF NOT EXISTS idempotency_keys_by_upload ON idempotency_keys (upload_id);
CREATE INDEX IF NOT EXISTS idempotency_keys_by_expiry ON idempotency_keys (expires_at);
