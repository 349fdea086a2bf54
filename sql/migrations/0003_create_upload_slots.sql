-- depends: 0002_create_records

-- What a user keeps. The statements that insert and delete records update it, so that a limit needs no counting.
ALTER TABLE users ADD COLUMN IF NOT EXISTS record_count bigint NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN IF NOT EXISTS byte_count bigint NOT NULL DEFAULT 0;
UPDATE users
SET record_count = held.record_count, byte_count = held.byte_count
FROM (SELECT user_id, count(*) AS record_count, sum(size) AS byte_count FROM records GROUP BY user_id) AS held
WHERE id = held.user_id;

-- One row per running upload: a lease that its process renews, so that it soon ends if the process is killed.
CREATE TABLE IF NOT EXISTS upload_slots (
    user_id bigint NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    number integer NOT NULL,
    upload_id uuid NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, number)
);
CREATE INDEX IF NOT EXISTS upload_slots_by_upload ON upload_slots (upload_id);
