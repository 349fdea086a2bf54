-- depends: 0005_rename_upload_slots

-- A warning is a code and a sentence: warning_codes[n] belongs to warnings[n]. Replicas of the version before read and
-- write only the sentences.
ALTER TABLE records ADD COLUMN IF NOT EXISTS warning_codes text[] NOT NULL DEFAULT '{}';
