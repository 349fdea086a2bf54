DROP TABLE IF EXISTS removal_turns;
ALTER TABLE records DROP COLUMN IF EXISTS expires_at;
