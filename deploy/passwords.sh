#!/bin/sh
# Makes every password once, and PostgreSQL's two roles; compose runs it before each start.
#
# wavepress_migrate owns the tables and may change them, wavepress_service may only read and write rows. Each has its
# password in a volume that only its own container mounts. The superuser `wavepress` loses its password: it works over
# PostgreSQL's socket alone. All of it may be repeated, and a database of the first version gets the roles, too.
#
# To change the passwords, remove the volumes whose names end in "-secrets", and start again.
set -eu
# 0440: root, who runs this, and the group of the service.
umask 0227

random() {
    od -An -v -tx1 -N24 /dev/urandom | tr -d ' \n'
}

# keep FILE TEXT: write the file if it is not there yet, whole or not at all.
keep() {
    [ ! -s "$1" ] || return 0
    rm -f "$1.new"
    printf '%s\n' "$2" >"$1.new"
    mv "$1.new" "$1"
}

keep /secrets/migrate/database_url "postgresql://wavepress_migrate:$(random)@database/wavepress"
keep /secrets/service/database_url "postgresql://wavepress_service:$(random)@database/wavepress"

# Only deploy/compose.scale.yml has a store. Its key may use one bucket and do nothing else.
if [ -d /secrets/store ]; then
    keep /secrets/service/s3_access_key_id "$(random)"
    keep /secrets/service/s3_secret_access_key "$(random)"
    rm -f /secrets/store/s3.json
    cat >/secrets/store/s3.json <<END
{"identities": [{
  "name": "wavepress",
  "credentials": [{
    "accessKey": "$(cat /secrets/service/s3_access_key_id)",
    "secretKey": "$(cat /secrets/service/s3_secret_access_key)"
  }],
  "actions": ["Read:recordings", "Write:recordings", "List:recordings"]
}]}
END
fi

password() {
    sed 's|.*//[^:]*:\([^@]*\)@.*|\1|' "/secrets/$1/database_url"
}

MIGRATE_PASSWORD=$(password migrate) SERVICE_PASSWORD=$(password service)
export MIGRATE_PASSWORD SERVICE_PASSWORD
psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username wavepress --output /dev/null --single-transaction --file - <<'END'
\getenv migrate_password MIGRATE_PASSWORD
\getenv service_password SERVICE_PASSWORD
-- No password in PostgreSQL's log, even if a statement fails.
SET log_min_error_statement = 'panic';
SET log_statement = 'none';
SET client_min_messages = 'warning';

ALTER ROLE CURRENT_USER PASSWORD NULL;
SELECT format('CREATE ROLE %I', name) FROM unnest(ARRAY['wavepress_migrate', 'wavepress_service']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE wavepress_migrate LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'migrate_password';
ALTER ROLE wavepress_service LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'service_password';
-- No address of a record in PostgreSQL's log, either.
ALTER ROLE wavepress_migrate SET log_min_error_statement = 'panic';
ALTER ROLE wavepress_service SET log_min_error_statement = 'panic';

ALTER DATABASE wavepress OWNER TO wavepress_migrate;
REVOKE ALL ON DATABASE wavepress FROM PUBLIC;
GRANT CONNECT ON DATABASE wavepress TO wavepress_service;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO wavepress_migrate;
GRANT USAGE ON SCHEMA public TO wavepress_service;

-- The tables and views that the first version's superuser has made; indexes follow their tables.
SELECT format('ALTER TABLE public.%I OWNER TO wavepress_migrate', relname) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
AND relowner <> 'wavepress_migrate'::regrole \gexec

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO wavepress_service;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO wavepress_service;
ALTER DEFAULT PRIVILEGES FOR ROLE wavepress_migrate IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO wavepress_service;
ALTER DEFAULT PRIVILEGES FOR ROLE wavepress_migrate IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO wavepress_service;
END
