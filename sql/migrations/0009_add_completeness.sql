-- depends: 0008_add_record_expiry

-- Replicas of the version before run on: what they keep is complete, and nobody knows the size of its WAV.
ALTER TABLE records ADD COLUMN IF NOT EXISTS is_complete boolean NOT NULL DEFAULT true;
ALTER TABLE records ADD COLUMN IF NOT EXISTS source_size bigint CHECK (source_size > 0);
