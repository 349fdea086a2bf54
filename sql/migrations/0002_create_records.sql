-- depends: 0001_create_users

CREATE TABLE IF NOT EXISTS records (
    id uuid PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    filename text NOT NULL,
    duration double precision NOT NULL CHECK (duration > 0),
    sample_rate integer NOT NULL,
    channels smallint NOT NULL,
    bit_rate integer NOT NULL,
    size bigint NOT NULL CHECK (size > 0),
    sha256 bytea NOT NULL CHECK (octet_length(sha256) = 32),
    warnings text[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);

-- A user's records, newest first, page by page.
CREATE INDEX IF NOT EXISTS records_by_user ON records (user_id, created_at DESC, id DESC);
