-- depends: 0007_add_account_states

-- NULL: the record is kept until somebody deletes it.
ALTER TABLE records ADD COLUMN IF NOT EXISTS expires_at timestamptz;
CREATE INDEX IF NOT EXISTS records_by_expiry ON records (expires_at) WHERE expires_at IS NOT NULL;

-- Which process removes what is due, and until when the others leave it to that one.
CREATE TABLE IF NOT EXISTS removal_turns (
    name text PRIMARY KEY,
    process_id uuid NOT NULL,
    ends_at timestamptz NOT NULL
);
