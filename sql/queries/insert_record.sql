-- A second run with the same id leaves the first run's row.
INSERT INTO records
    (id, user_id, filename, duration, sample_rate, channels, bit_rate, size, sha256, warnings, created_at)
VALUES
    (%(id)s, %(user_id)s, %(filename)s, %(duration)s, %(sample_rate)s, %(channels)s, %(bit_rate)s, %(size)s,
     decode(%(sha256)s, 'hex'), %(warnings)s::text[], %(created_at)s)
ON CONFLICT (id) DO NOTHING
