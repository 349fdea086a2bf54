ALTER TABLE users DROP COLUMN IF EXISTS token_used_at;
ALTER TABLE users DROP COLUMN IF EXISTS token_created_at;
ALTER TABLE users DROP COLUMN IF EXISTS pending_token_created_at;
ALTER TABLE users DROP COLUMN IF EXISTS pending_token_sha256;
ALTER TABLE users DROP COLUMN IF EXISTS deleted_at;
ALTER TABLE users DROP COLUMN IF EXISTS disabled_at;
