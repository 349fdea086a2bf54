-- depends: 0010_add_uploads_under_way

-- The record's waveform, as an audiowaveform data file of at most 16 KB. NULL: of a version without waveforms.
ALTER TABLE records ADD COLUMN IF NOT EXISTS peaks bytea;
