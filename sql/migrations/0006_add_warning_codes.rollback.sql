ALTER TABLE records DROP COLUMN IF EXISTS warning_codes;
