"""PostgreSQL: the pool, the schema, and one typed function for each SQL statement."""
