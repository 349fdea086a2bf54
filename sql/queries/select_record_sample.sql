-- Ids are random, so those behind a random one are a sample.
(SELECT id FROM records WHERE id >= %(start)s::uuid ORDER BY id LIMIT %(limit)s)
UNION ALL
(SELECT id FROM records WHERE id < %(start)s::uuid ORDER BY id LIMIT %(limit)s)
LIMIT %(limit)s
