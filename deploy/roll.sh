#!/bin/sh
# Replaces the replicas of deploy/compose.scale.yml by as many new ones, without refusing a request:
#
#     docker compose -f docker-compose.yml -f deploy/compose.scale.yml build    # a new version, or edit a setting
#     deploy/roll.sh
#
# New replicas start beside the old ones and must become healthy; then nginx sends them every new request, while
# requests that run end at the old ones, within SHUTDOWN_SECONDS. If a new one does not become healthy, the new ones
# are removed and the old ones serve on. For a project of another name or with further files, set COMPOSE_PROJECT_NAME
# and COMPOSE_FILE.
set -eu
cd "$(dirname "$0")/.."
: "${COMPOSE_FILE:=docker-compose.yml:deploy/compose.scale.yml}" "${COMPOSE_PATH_SEPARATOR:=:}"
export COMPOSE_FILE COMPOSE_PATH_SEPARATOR

say() {
    printf 'roll: %s\n' "$*" >&2
}

# Also those that have ended or are starting again and again.
replicas() {
    docker compose ps --all --quiet wavepress
}

# route: give nginx its servers, from standard input, and wait until it has taken them.
route() {
    docker compose exec -T nginx sh -euc 'cat >/tmp/replicas.conf; nginx -t -q; nginx -s reload; sleep 1'
}

route_to_all() {
    echo 'server wavepress:8001 resolve max_fails=2 fail_timeout=5s;' | route
}

old=$(replicas)
count=$(docker compose ps --status running --quiet wavepress | wc -l)
[ "$count" -gt 0 ] || { say 'no replica runs; start the stack first'; exit 1; }

new() {
    replicas | while read -r id; do
        case $old in *"$id"*) ;; *) echo "$id" ;; esac
    done
}

say "migrating the database"
docker compose run --rm --no-deps --quiet-pull migrate

say "starting $count replicas beside the $count that run"
if ! docker compose up --detach --no-deps --no-recreate --wait --wait-timeout 120 \
    --scale "wavepress=$(($(echo "$old" | wc -w) + count))" wavepress; then
    say 'the new replicas are not healthy: they are removed, the old ones serve on. The last lines of one:'
    docker logs --tail 20 "$(new | head -n 1)" >&2 || true
    # shellcheck disable=SC2046
    docker rm --force --volumes $(new) >/dev/null
    exit 1
fi

say 'sending new requests to the new replicas alone'
trap route_to_all EXIT
# shellcheck disable=SC2046
docker inspect --format '{{range $name, $network := .NetworkSettings.Networks}}{{$name}} {{$network.IPAddress}}
{{end}}' $(new) | sed -n 's/^.*_replicas \(.*\)$/server \1:8001 max_fails=2 fail_timeout=5s;/p' | route

say 'letting the old replicas end what they do'
# shellcheck disable=SC2086
docker stop --timeout "${STOP_SECONDS:-30}" $old >/dev/null
# shellcheck disable=SC2086
docker rm --volumes $old >/dev/null
say 'done'
