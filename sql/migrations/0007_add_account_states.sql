-- depends: 0006_add_warning_codes

-- Replicas of the version before run on beside the new ones: they neither see these columns nor have to fill them.
ALTER TABLE users ADD COLUMN IF NOT EXISTS disabled_at timestamptz;
-- The token of a deleted user is nobody's. The row goes when its last record and file have gone.
ALTER TABLE users ADD COLUMN IF NOT EXISTS deleted_at timestamptz;
-- A new token that has not been used yet: its first use makes it the only one.
ALTER TABLE users ADD COLUMN IF NOT EXISTS pending_token_sha256 bytea CHECK (octet_length(pending_token_sha256) = 32);
ALTER TABLE users ADD COLUMN IF NOT EXISTS pending_token_created_at timestamptz;
-- The age of tokens that are older than this column is counted from now on.
ALTER TABLE users ADD COLUMN IF NOT EXISTS token_created_at timestamptz NOT NULL DEFAULT now();
ALTER TABLE users ADD COLUMN IF NOT EXISTS token_used_at timestamptz;
CREATE UNIQUE INDEX IF NOT EXISTS users_by_pending_token ON users (pending_token_sha256);
CREATE INDEX IF NOT EXISTS users_deleted ON users (deleted_at) WHERE deleted_at IS NOT NULL;
