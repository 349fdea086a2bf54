SELECT id FROM records WHERE id = ANY(%(ids)s::uuid[])
