-- Removes what ran out so long ago that no upload goes on with it. In an outage the leases of running uploads run out
-- too; they are renewed when it is over. Who wants an expired one need not wait for this: claims take it over.
WITH expired AS (
    DELETE FROM upload_leases WHERE expires_at <= now() - make_interval(secs => %(grace_seconds)s)
)

DELETE FROM idempotency_keys WHERE expires_at <= now() - make_interval(secs => %(grace_seconds)s)
