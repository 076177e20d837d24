#!/usr/bin/env bash
# Fuzzes the admin API by its own OpenAPI description: schemathesis against a daemon with a simulated gateway, where
# jobs of every state, replays and refused messages are. Exits 1 on any answer that is a 5xx, or is not as described, and
# where a request of the description never succeeded. FUZZ_ARGS are handed on, such as --seed 7.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=deploy/local/lib.sh
. "$here/lib.sh"

FUZZ=$LOCAL/fuzz
BIN=${CARGO_TARGET_DIR:-$ROOT/target}/debug/dispatcher
VENV=$ROOT/target/fuzz
API=
RESTOCK=

# Kept between runs.
install_schemathesis() {
    # From 4.32 on it has dictionaries.
    "$VENV/bin/schemathesis" --version 2>/dev/null | grep -qE ' 4\.(3[2-9]|[4-9][0-9])\.' && return 0
    say "Installing schemathesis into target/fuzz ..."
    python3 -m venv "$VENV" || die "python3 makes no virtual environment." "Install python3-venv."
    "$VENV/bin/pip" -q install 'schemathesis>=4.32,<5' || die "pip cannot install schemathesis."
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
    # What is refused, and what hangs, is to happen often.
    export DISPATCHER__GATEWAY__TIMEOUT=300ms DISPATCHER__ACCOUNTS__MAIN__PAUSE_AFTER_REFUSALS=0
}

simulator_ready() { curl -fsS -m 2 -o /dev/null "http://127.0.0.1:$SIMULATOR_PORT/_sim/stats" 2>/dev/null; }

dispatcher_ready() { curl -fsS -m 2 -o /dev/null "http://127.0.0.1:$ADMIN_PORT/readyz" 2>/dev/null; }

stop() {
    [ -z "$RESTOCK" ] || kill "$RESTOCK" 2>/dev/null || true
    stop_recorded "$FUZZ/dispatcher.pid" dispatcher 30
    stop_recorded "$FUZZ/simulator.pid" simulator 10
}

start() {
    local port
    for port in "$SIMULATOR_PORT" "$ADMIN_PORT"; do require_free_port "$port" "fuzzing"; done
    trap stop EXIT
    start_detached "$FUZZ/simulator.pid" "$FUZZ/simulator.log" env -u TOKEN "$BIN" simulate \
        --listen "127.0.0.1:$SIMULATOR_PORT" --seed 1 --fail 4070=0.3 --hang 0.3
    await 15 "$FUZZ/simulator.pid" simulator_ready || show_log_and_die "the simulator did not start" "$FUZZ/simulator.log"
    start_detached "$FUZZ/dispatcher.pid" "$FUZZ/dispatcher.log" "$BIN" --config /dev/null run --migrate
    await 30 "$FUZZ/dispatcher.pid" dispatcher_ready ||
        show_log_and_die "the dispatcher is not ready" "$FUZZ/dispatcher.log"
}

# job NUMBER FIELDS: as JSON.
job() { printf '{"id": "fuzz-%s", "mobile": "138%08d", "content": "您的验证码是：1234。请不要把验证码泄露给其他人。"%s}\n' "$1" "$1" "$2"; }

# The ids of fuzz-api.toml: 1 to 100 were sent, 101 to 140 wait, and there are replays 1 to 40 and refused messages.
populate() {
    local n
    {
        for n in {1..100}; do job "$n" ''; done
        for n in {101..140}; do job "$n" ', "not_before": "2099-01-01T00:00:00Z"'; done
        for n in {1..20}; do printf '{"id": "refused-%s"}\n' "$n"; done
    } | "$BIN" --config /dev/null send - --unchecked >/dev/null
    await 30 "$FUZZ/dispatcher.pid" settled || show_log_and_die "the first jobs are not settled" "$FUZZ/dispatcher.log"
    for n in {1..40}; do
        curl -fsS -m 10 -o /dev/null -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
            -d '{"filter": {"code": 4070}, "rate": "1/d", "reason": "to be fuzzed"}' "$API/replays"
    done
}

# shellcheck disable=SC2317  # `await` calls it
settled() {
    local open
    open=$(psql -X -qtA "$FUZZ_DATABASE_URL" -c "select 140 - count(*) from jobs where state in
        ('accepted', 'failed', 'in_doubt') or wait_reason = 'scheduled'")
    [ "$open" = 0 ]
}

# One request with a wide filter withdraws every job that waits, or ends every doubt. They are put back all the while, so
# that requests for a single one find some.
restock() {
    while sleep 1; do
        psql -X -q "$FUZZ_DATABASE_URL" -c "
            update jobs set state = 'waiting', wait_reason = 'scheduled', due_at = not_before
            where state = 'cancelled' and not_before is not null and id like 'fuzz-%';
            update jobs set state = 'in_doubt', code = null, message = null, smsid = null
            where state in ('failed', 'accepted') and id like 'fuzz-%'" >/dev/null 2>&1 || true
    done
}

# Which requests of the description were never answered with a 2xx: the fuzzing did not get behind them.
successes() {
    "$VENV/bin/python" - "$FUZZ/run.har" "$FUZZ/openapi.json" <<'PYTHON'
import collections, json, re, sys
from urllib.parse import urlsplit

entries = json.load(open(sys.argv[1]))["log"]["entries"]
paths = json.load(open(sys.argv[2]))["paths"]
operations = [(m.upper(), p, re.compile("/api/v1" + re.sub(r"{\w+}", "[^/]+", p))) for p, ms in paths.items() for m in ms]
operations.sort(key=lambda operation: "{" in operation[1])
seen = collections.defaultdict(collections.Counter)
for entry in entries:
    method, path = entry["request"]["method"], urlsplit(entry["request"]["url"]).path
    for verb, template, pattern in operations:
        if verb == method and pattern.fullmatch(path):
            seen[verb, template][entry["response"]["status"] // 100] += 1
            break
missing = 0
for verb, template, _ in operations:
    counts = seen[verb, template]
    missing += not counts[2]
    print(f"  {verb:4} {template:26}", " ".join(f"{k}xx {counts[k]}" for k in sorted(counts)), "" if counts[2] else " NEVER A 2xx")
sys.exit(bool(missing))
PYTHON
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
    populate
    curl -fsS -m 10 -o "$FUZZ/openapi.json" -H "Authorization: Bearer $TOKEN" "$API/openapi.json"
    restock &
    RESTOCK=$!
    # It keeps notes where it runs.
    cd "$FUZZ"
    # An account that is paused by chance, or a job that is no job, is no fault: only what the description does not
    # tell is.
    # shellcheck disable=SC2086  # several arguments are meant
    "$VENV/bin/schemathesis" --config-file "$here/fuzz-api.toml" run "$API/openapi.json" --url "$API" \
        --header "Authorization: Bearer $TOKEN" --report har --report-har-path "$FUZZ/run.har" \
        --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
        ${FUZZ_ARGS:---max-examples 100}
    successes
}

main
