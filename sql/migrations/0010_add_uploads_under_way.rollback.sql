ALTER TABLE upload_leases DROP COLUMN IF EXISTS holder;
DROP TABLE IF EXISTS ended_uploads;
