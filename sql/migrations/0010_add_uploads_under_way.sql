-- depends: 0009_add_completeness

-- How uploads failed, for an hour, so that their owners can ask any replica.
CREATE TABLE IF NOT EXISTS ended_uploads (
    id uuid PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    code text NOT NULL,
    detail text NOT NULL,
    body_offset bigint,
    ended_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS ended_uploads_by_user ON ended_uploads (user_id, ended_at);

-- The address of the process that holds the upload; NULL: of a process that passes nothing on.
ALTER TABLE upload_leases ADD COLUMN IF NOT EXISTS holder text;
