#!/usr/bin/env bash
# Fuzzes the admin API by its own OpenAPI description: schemathesis against a daemon with a simulated gateway. Exits 1
# on any answer that is a 5xx, or is not as described. FUZZ_ARGS are handed on, such as --seed 7.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=deploy/local/lib.sh
. "$here/lib.sh"

FUZZ=$LOCAL/fuzz
BIN=${CARGO_TARGET_DIR:-$ROOT/target}/debug/dispatcher
VENV=$ROOT/target/fuzz
API=

# Kept between runs.
install_schemathesis() {
    [ ! -x "$VENV/bin/schemathesis" ] || return 0
    say "Installing schemathesis into target/fuzz ..."
    python3 -m venv "$VENV" || die "python3 makes no virtual environment." "Install python3-venv."
    "$VENV/bin/pip" -q install 'schemathesis>=4,<5' || die "pip cannot install schemathesis."
}

fresh_database() {
    local base=${DATABASE_URL%%\?*}
    FUZZ_DATABASE_URL=${base%/*}/dispatcher_fuzz${DATABASE_URL#"$base"}
    psql -X -q -v ON_ERROR_STOP=1 "$DATABASE_URL" <<'SQL'
set client_min_messages = warning;
drop database if exists dispatcher_fuzz with (force);
create database dispatcher_fuzz;
SQL
}

# All by environment: nothing of this is kept.
configure() {
    export DISPATCHER__RABBITMQ__URL=$AMQP_URL DISPATCHER__RABBITMQ__PREFIX=fuzz
    export DISPATCHER__POSTGRES__URL=$FUZZ_DATABASE_URL
    export DISPATCHER__GATEWAY__SUBMIT_URL="http://127.0.0.1:$SIMULATOR_PORT/webservice/sms.php?method=Submit"
    export DISPATCHER__ACCOUNTS__MAIN__API_ID=C00000001 DISPATCHER__ACCOUNTS__MAIN__API_KEY=simulated-key
    export DISPATCHER__ADMIN__LISTEN=127.0.0.1:$ADMIN_PORT
    TOKEN=$(new_password)
    export DISPATCHER__ADMIN__TOKENS__FUZZ__ROLE=operator DISPATCHER__ADMIN__TOKENS__FUZZ__TOKEN=$TOKEN
    API=http://127.0.0.1:$ADMIN_PORT/api/v1
}

simulator_ready() { curl -fsS -m 2 -o /dev/null "http://127.0.0.1:$SIMULATOR_PORT/_sim/stats" 2>/dev/null; }

dispatcher_ready() { curl -fsS -m 2 -o /dev/null "http://127.0.0.1:$ADMIN_PORT/readyz" 2>/dev/null; }

stop() {
    stop_recorded "$FUZZ/dispatcher.pid" dispatcher 30
    stop_recorded "$FUZZ/simulator.pid" simulator 10
}

start() {
    local port
    for port in "$SIMULATOR_PORT" "$ADMIN_PORT"; do require_free_port "$port" "fuzzing"; done
    trap stop EXIT
    start_detached "$FUZZ/simulator.pid" "$FUZZ/simulator.log" env -u TOKEN "$BIN" simulate \
        --listen "127.0.0.1:$SIMULATOR_PORT"
    await 15 "$FUZZ/simulator.pid" simulator_ready || show_log_and_die "the simulator did not start" "$FUZZ/simulator.log"
    start_detached "$FUZZ/dispatcher.pid" "$FUZZ/dispatcher.log" "$BIN" --config /dev/null run --migrate
    await 30 "$FUZZ/dispatcher.pid" dispatcher_ready ||
        show_log_and_die "the dispatcher is not ready" "$FUZZ/dispatcher.log"
}

main() {
    load_ports
    install_schemathesis
    (cd "$ROOT" && cargo build --locked)
    eval "$("$here/services.sh" env)"
    mkdir -p "$FUZZ"
    stop
    : >"$FUZZ/simulator.log"
    : >"$FUZZ/dispatcher.log"
    fresh_database
    configure
    start
    # An account that is paused by chance, or a job that is no job, is no fault: only what the description does not
    # tell is.
    # shellcheck disable=SC2086  # several arguments are meant
    "$VENV/bin/schemathesis" run "$API/openapi.json" --url "$API" --header "Authorization: Bearer $TOKEN" \
        --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
        ${FUZZ_ARGS:---max-examples 100}
}

main
