#!/usr/bin/env bash
# The demo: 1,000 order and logistics notices through RabbitMQ, the limiters, a simulated ihuyi gateway and
# PostgreSQL; then the books are compared with the gateway's own count.
# Exits 1 if they differ. On a terminal the daemon and the simulator are left running (make stop ends them);
# otherwise they are stopped at the end, and only RabbitMQ and PostgreSQL stay.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=deploy/local/lib.sh
. "$here/lib.sh"
# shellcheck source=deploy/local/install.sh
. "$here/install.sh"
# shellcheck source=deploy/local/rabbitmq.sh
. "$here/rabbitmq.sh"

DEMO=$LOCAL/demo
CONFIG=$DEMO/dispatcher.toml
BIN=${CARGO_TARGET_DIR:-$ROOT/target}/debug/dispatcher
RUN=demo-$(date +%H%M%S)
BLACKLISTED=13800000000

# What demo-jobs.awk puts in, and what must come of it.
PUBLISHED=1000
BAD_NUMBERS=10
ID_CONFLICTS=1
REPEATS=1
BLACKLISTED_JOBS=3
EXPIRED_JOBS=3
TOMORROW_JOBS=2
JOBS=$((PUBLISHED - BAD_NUMBERS - ID_CONFLICTS - REPEATS))
ACCEPTED=$((JOBS - BLACKLISTED_JOBS - EXPIRED_JOBS - TOMORROW_JOBS))

BOLD='' PLAIN=''
if [ -t 1 ]; then BOLD=$'\033[1m' PLAIN=$'\033[0m'; fi
step() { printf '\n%s%s%s\n' "$BOLD" "$*" "$PLAIN"; }

build() {
    step "Building (the first time takes some minutes)"
    command -v cargo >/dev/null || die "cargo is not in the PATH." "Install Rust: https://rustup.rs"
    (cd "$ROOT" && cargo build --locked)
}

services() {
    step "RabbitMQ and PostgreSQL"
    own_broker=yes
    [ -z "${AMQP_URL:-}" ] || own_broker=
    "$here/services.sh" up
    "$here/services.sh" status
    eval "$("$here/services.sh" env)"
}

# demo_database: DATABASE_URL with another database's name.
demo_database() {
    local base=${DATABASE_URL%%\?*}
    printf '%s/dispatcher_demo%s\n' "${base%/*}" "${DATABASE_URL#"$base"}"
}

sql() { PGOPTIONS='-c client_min_messages=warning' psql -X -q -P pager=off -v ON_ERROR_STOP=1 "$DEMO_DATABASE_URL" "$@"; }

# Every run begins with an empty database and empty queues.
fresh_start() {
    mkdir -p "$DEMO"
    stop_demo_processes
    local port
    for port in "$SIMULATOR_PORT" "$ADMIN_PORT"; do require_free_port "$port" "the demo"; done
    DEMO_DATABASE_URL=$(demo_database)
    psql -X -q -v ON_ERROR_STOP=1 "$DATABASE_URL" <<'SQL' || die "cannot make the database dispatcher_demo." "The reason is above. The role of DATABASE_URL needs CREATEDB."
set client_min_messages = warning;
drop database if exists dispatcher_demo with (force);
create database dispatcher_demo;
SQL
    PREFIX=demo
    if [ -n "$own_broker" ]; then
        delete_queues
    else
        PREFIX=$RUN
        say "On the broker of AMQP_URL the demo uses the prefix $PREFIX; remove its queues when you are done."
    fi
}

delete_queues() {
    local queue
    rabbit_ctl -q --no-table-headers list_queues name | { grep '^demo\.' || true; } | while read -r queue; do
        rabbit_ctl -q delete_queue "$queue" >/dev/null </dev/null
    done
}

write_config() {
    (
        umask 077
        printf 'simulated-key' >"$DEMO/api_key"
        printf '%s\n' "$DEMO_DATABASE_URL" >"$DEMO/database_url"
        cat >"$CONFIG" <<TOML
# Written by deploy/local/demo.sh for one run of the demo.
[rabbitmq]
url = "$AMQP_URL"
prefix = "$PREFIX"

[postgres]
url = "$DEMO_DATABASE_URL"

[gateway]
submit_url = "http://127.0.0.1:$SIMULATOR_PORT/webservice/sms.php?method=Submit"
balance_url = "http://127.0.0.1:$SIMULATOR_PORT/webservice/sms.php?method=GetNum"

[accounts.main]
api_id = "C00000001"
api_key_file = "$DEMO/api_key"
rate = "100/s"
max_in_flight = 32

[limits]
mobile = "1/s"

[admin]
listen = "127.0.0.1:$ADMIN_PORT"
TOML
    )
}

simulator_ready() { curl -fsS -m 2 -o "$DEMO/stats.json" "http://127.0.0.1:$SIMULATOR_PORT/_sim/stats" 2>/dev/null; }

dispatcher_ready() { curl -fsS -m 2 -o /dev/null "http://127.0.0.1:$ADMIN_PORT/readyz" 2>/dev/null; }

start_processes() {
    step "Gateway simulator and dispatcher"
    : >"$DEMO/simulator.log"
    : >"$DEMO/dispatcher.log"
    start_detached "$DEMO/simulator.pid" "$DEMO/simulator.log" "$BIN" simulate \
        --listen "127.0.0.1:$SIMULATOR_PORT" --api-key-file "$DEMO/api_key" \
        --blacklist "$BLACKLISTED" --fail 0=0.02,4080=0.01 --latency 30ms --latency-p99 120ms
    await 15 "$DEMO/simulator.pid" simulator_ready || show_log_and_die "the simulator did not start" "$DEMO/simulator.log"
    echo "Simulator   http://127.0.0.1:$SIMULATOR_PORT: about 30 ms, 3 % of answers are \"try again\", one number on the blacklist"
    start_detached "$DEMO/dispatcher.pid" "$DEMO/dispatcher.log" "$BIN" --config "$CONFIG" run --migrate
    await 30 "$DEMO/dispatcher.pid" dispatcher_ready || show_log_and_die "the dispatcher is not ready" "$DEMO/dispatcher.log"
    echo "Dispatcher  http://127.0.0.1:$ADMIN_PORT: 100 messages/s for the account, 1/s for a number"
}

instant() { date -u -d "$1" +%Y-%m-%dT%H:%M:%SZ; }

publish() {
    step "Publishing $PUBLISHED notices, like this one"
    awk -v run="$RUN" -v past="$(instant '1 minute ago')" -v soon="$(instant '5 seconds')" \
        -v later="$(instant '4 hours')" -v far="$(instant '1 day')" -f "$here/demo-jobs.awk" >"$DEMO/jobs.jsonl"
    head -n 1 "$DEMO/jobs.jsonl"
    "$BIN" --config "$CONFIG" send - --unchecked <"$DEMO/jobs.jsonl" >"$DEMO/send.log" 2>&1 ||
        show_log_and_die "publishing failed" "$DEMO/send.log"
}

# One line: accepted, ended otherwise, waiting, under way, rejected, and whether all is settled. What waits for
# tomorrow counts as settled.
read_progress() {
    IFS='|' read -r accepted other waiting open rejected settled < <(sql -At <<SQL
select accepted, other, waiting, open, rejected,
       jobs = $JOBS and open = 0 and waiting = $TOMORROW_JOBS and rejected = $((BAD_NUMBERS + ID_CONFLICTS))
from (select count(*) jobs,
             count(*) filter (where state in ('accepted', 'delivered', 'undelivered')) accepted,
             count(*) filter (where state in ('failed', 'expired', 'cancelled', 'in_doubt')) other,
             count(*) filter (where state = 'waiting') waiting,
             count(*) filter (where state in ('queued', 'submitting')) open
      from jobs) jobs,
     (select count(*) rejected from rejections) rejections
SQL
    )
}

show_progress() {
    local width=$((accepted * 40 / ACCEPTED)) bar line
    printf -v bar '%*s' "$width" ''
    printf -v line '%4d accepted  %2d failed or expired  %2d rejected  %3d waiting  %3d under way' \
        "$accepted" "$other" "$rejected" "$waiting" "$open"
    if [ -t 1 ]; then
        printf '\r\033[K[%-40s] %s' "${bar// /#}" "$line"
    else
        echo "$line"
    fi
}

watch() {
    step "Under way"
    local pause=2 end=$((SECONDS + 90))
    if [ -t 1 ]; then pause=0.3; fi
    while :; do
        read_progress
        show_progress
        [ "$settled" != t ] || break
        live_pid "$DEMO/dispatcher.pid" >/dev/null || show_log_and_die "the dispatcher ended by itself" "$DEMO/dispatcher.log"
        if [ "$SECONDS" -ge "$end" ]; then
            say "Not all is settled after 90 s; here is what there is."
            break
        fi
        sleep "$pause"
    done
    [ ! -t 1 ] || echo
}

summary() {
    step "What PostgreSQL knows"
    sql -P footer=off -P border=2 -P linestyle=unicode -P null=- -f "$here/demo-summary.sql"
}

metric() { curl -fsS -m 5 "http://127.0.0.1:$ADMIN_PORT/metrics" | awk -v name="$1" '$1 == name { print $2 + 0 }'; }

# check WHAT EXPECTED FOUND
check() {
    if [ "$2" = "$3" ]; then
        printf '  ok     %-66s %5s\n' "$1" "$3"
    else
        printf '  WRONG  %-66s %5s, expected %s\n' "$1" "$3" "$2"
        wrong=$((wrong + 1))
    fi
}

count() { sql -Atc "select count(*) from $1"; }

cross_check() {
    step "Do the books add up?"
    wrong=0
    simulator_ready || die "the simulator does not answer." "Its log: $DEMO/simulator.log"
    local taken
    taken=$(grep -o '"2": *[0-9]*' "$DEMO/stats.json" | head -n 1 | grep -o '[0-9]*$' || echo 0)
    check "accepted in PostgreSQL = answered 2 by the gateway" "$taken" "$(count "jobs where state in ('accepted', 'delivered', 'undelivered')")"
    check "accepted, as many as there should be" "$ACCEPTED" "$(count "jobs where state in ('accepted', 'delivered', 'undelivered')")"
    check "accepted attempts: no job was sent twice" "$ACCEPTED" "$(count "attempts where outcome = 'accepted'")"
    check "failed: the blacklisted number (4030)" "$BLACKLISTED_JOBS" "$(count "jobs where state = 'failed' and code = 4030")"
    check "expired before they could be sent" "$EXPIRED_JOBS" "$(count "jobs where state = 'expired'")"
    check "waiting for tomorrow (not_before)" "$TOMORROW_JOBS" "$(count "jobs where state = 'waiting' and wait_reason = 'scheduled'")"
    check "rejected: bad numbers, one id used twice" $((BAD_NUMBERS + ID_CONFLICTS)) "$(count rejections)"
    check "repeats of an id, not sent" "$REPEATS" "$(metric dispatcher_duplicates_total)"
    check "jobs and rejections and repeats = published" "$PUBLISHED" $(($(count jobs) + $(count rejections) + REPEATS))
    [ "$wrong" -eq 0 ]
}

try_next() {
    local bin=${BIN#"$ROOT"/} config=${CONFIG#"$ROOT"/}
    step "What to try next"
    cat <<TEXT
  $bin --config $config jobs list --state failed
  $bin --config $config jobs show $RUN-0060
  $bin --config $config send --id hello-1 --mobile 13900001234 --content '您的订单已发货，请留意查收。'
  $bin --config $config jobs show hello-1
  curl -s http://127.0.0.1:$ADMIN_PORT/metrics | grep ^dispatcher_
  curl -s http://127.0.0.1:$SIMULATOR_PORT/_sim/stats
  psql "\$(cat ${DEMO#"$ROOT"/}/database_url)" -c 'select * from attempts order by started_at desc limit 5'
  tail -f ${DEMO#"$ROOT"/}/dispatcher.log

  make stop     stops everything, data stays        make clean    removes it
TEXT
}

run_demo() {
    local ok=yes
    load_ports
    services
    build
    fresh_start
    write_config
    # Nothing is left behind by a demo that broke off.
    trap stop_demo_processes EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    start_processes
    publish
    watch
    summary
    cross_check || ok=
    [ -n "$ok" ] || die "the numbers do not add up: see WRONG above." "Logs: $DEMO/dispatcher.log $DEMO/simulator.log"
    if [ -t 1 ]; then
        trap - EXIT
        try_next
    else
        step "All numbers add up. Run 'make demo' on a terminal to keep it running and look around."
    fi
}

run_demo
