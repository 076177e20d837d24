#!/usr/bin/env bash
# `make chaos`: kills the daemon and its services while it works, then prints the ledger.
#
#   chaos.sh [--seed N] [--jobs N] [--kills N] …    see --help
#
# CHAOS_PROFILE=release measures what is installed; the other build is there sooner.
#
# Only private services are crashed: where AMQP_URL or DATABASE_URL is set, that service is somebody's.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=deploy/local/lib.sh
. "$here/lib.sh"
services=$here/services.sh
arguments=(--script "$services")
# Each again and again; Postgres, which is quicker to come back, more often.
if [ -z "${AMQP_URL:-}" ]; then
    arguments+=("--crash=rabbitmq,rabbitmq")
else
    say "AMQP_URL is set: that RabbitMQ is not crashed."
fi
if [ -z "${DATABASE_URL:-}" ]; then
    arguments+=("--crash=postgres,postgres,postgres")
else
    say "DATABASE_URL is set: that Postgres is not crashed."
fi
"$services" up
eval "$("$services" env)"
cd "$ROOT"
exec cargo bench --locked --profile "${CHAOS_PROFILE:-dev}" --bench chaos -- "${arguments[@]}" "$@"
