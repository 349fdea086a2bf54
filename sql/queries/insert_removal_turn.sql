-- Takes the turn, or keeps it. No row: another process has it.
INSERT INTO removal_turns (name, process_id, ends_at)
VALUES ('removal', %(process_id)s, now() + make_interval(secs => %(turn_seconds)s))
ON CONFLICT (name) DO UPDATE
SET process_id = EXCLUDED.process_id, ends_at = EXCLUDED.ends_at
WHERE removal_turns.process_id = EXCLUDED.process_id OR removal_turns.ends_at <= now()
RETURNING name
