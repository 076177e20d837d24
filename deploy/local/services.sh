#!/usr/bin/env bash
# Private RabbitMQ and PostgreSQL for the demo and the tests.
#
#   services.sh up       start what is not running; installs what is missing (Debian, as root)
#   services.sh down     stop what was started here, a demo's daemon and simulator first; data stays
#   services.sh tools    install what only the tests need
#   services.sh status   what runs
#   services.sh env      print AMQP_URL and DATABASE_URL as exports:  eval "$(… env)"
#   services.sh clean    stop, then remove all data
#   services.sh rabbitmqctl …    rabbitmqctl on the private node
#   services.sh crash rabbitmq|postgres    kill it hard, and start it again on what is left
#   services.sh promtool …       Prometheus' tool, fetched if it is missing
#
# Where AMQP_URL or DATABASE_URL is set, that service is used and none of its kind is started.
# LOCAL_PORT_BASE (default 27600): the first of seven ports. LOCAL_DIR (default target/local): data.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=deploy/local/lib.sh
. "$here/lib.sh"
# shellcheck source=deploy/local/install.sh
. "$here/install.sh"
# shellcheck source=deploy/local/rabbitmq.sh
. "$here/rabbitmq.sh"
# shellcheck source=deploy/local/postgres.sh
. "$here/postgres.sh"

# One start or stop at a time in this checkout.
lock() {
    mkdir -p "$LOCAL"
    exec 9>"$LOCAL/lock"
    flock -w 180 9 || die "another start or stop holds $LOCAL/lock for minutes." "Wait for it, or end it."
}

refuse_other_ports() {
    local used
    [ -s "$PORT_BASE_FILE" ] || return 0
    used=$(<"$PORT_BASE_FILE")
    [ "$used" != "$PORT_BASE" ] || return 0
    if rabbit_running || postgres_running; then
        die "the services run already, on ports from $used." "Stop them first: make stop"
    fi
}

# All of them before anything starts, so that a refusal leaves nothing half done.
check_ports() {
    if [ -z "${AMQP_URL:-}" ]; then rabbit_check_ports; fi
    if [ -z "${DATABASE_URL:-}" ] && ! postgres_running; then
        require_free_port "$POSTGRES_PORT" "PostgreSQL"
    fi
}

up() {
    local kinds=() started=()
    [ -n "${AMQP_URL:-}" ] || kinds+=(rabbitmq)
    [ -n "${DATABASE_URL:-}" ] || kinds+=(postgres)
    lock
    refuse_other_ports
    install_missing "${kinds[@]}" client
    check_ports
    remember_ports
    # RabbitMQ takes some ten seconds to boot: PostgreSQL starts meanwhile.
    if [ -z "${AMQP_URL:-}" ] && ! rabbit_running; then
        say "Starting RabbitMQ on 127.0.0.1:$AMQP_PORT (about ten seconds) ..."
        rabbit_start
        started+=(RabbitMQ)
    fi
    if [ -z "${DATABASE_URL:-}" ] && ! postgres_running; then
        say "Starting PostgreSQL on 127.0.0.1:$POSTGRES_PORT ..."
        postgres_start
        started+=(PostgreSQL)
    fi
    if [ -z "${AMQP_URL:-}" ]; then rabbit_await; fi
    [ ${#started[@]} -eq 0 ] || say "Ready: ${started[*]}."
    # Whoever set a variable long ago wonders what runs.
    [ -z "${AMQP_URL:-}" ] || say "RabbitMQ: the one of AMQP_URL."
    [ -z "${DATABASE_URL:-}" ] || say "PostgreSQL: the one of DATABASE_URL."
}

down() {
    lock
    stop_demo_processes
    rabbit_stop
    postgres_stop
}

# Without a chance to put anything in order, as after a power cut.
crash() {
    case $1 in
        rabbitmq)
            rabbit_running || die "RabbitMQ does not run here."
            rabbit_crash
            ;;
        postgres)
            postgres_running || die "PostgreSQL does not run here."
            postgres_crash
            ;;
        *) die "crash what? rabbitmq or postgres." ;;
    esac
}

clean() {
    # Only ever a directory that `up` made.
    if [ ! -e "$LOCAL/lock" ]; then
        say "Nothing to remove in $LOCAL."
        return
    fi
    down
    rm -rf "$LOCAL"
    say "Removed $LOCAL (services' data, logs, demo). Cargo's build is kept: cargo clean removes it."
}

print_env() {
    if [ -z "${AMQP_URL:-}" ]; then
        [ -s "$RABBIT/password" ] || die "RabbitMQ was never started here." "Run: make up"
    fi
    if [ -z "${DATABASE_URL:-}" ]; then
        [ -s "$LOCAL/postgres.password" ] || die "PostgreSQL was never started here." "Run: make up"
    fi
    printf 'export AMQP_URL=%q\n' "${AMQP_URL:-$(amqp_url)}"
    printf 'export DATABASE_URL=%q\n' "${DATABASE_URL:-$(database_url)}"
}

status() {
    if [ -n "${AMQP_URL:-}" ]; then
        echo "RabbitMQ    given by AMQP_URL"
    elif rabbit_running && rabbit_ready; then
        echo "RabbitMQ    running on 127.0.0.1:$AMQP_PORT (pid $(live_pid "$RABBIT_PID"))"
    else
        echo "RabbitMQ    not running"
    fi
    if [ -n "${DATABASE_URL:-}" ]; then
        echo "PostgreSQL  given by DATABASE_URL"
    elif postgres_running; then
        echo "PostgreSQL  running on 127.0.0.1:$POSTGRES_PORT (pid $(head -n 1 "$POSTGRES_DATA/postmaster.pid"))"
    else
        echo "PostgreSQL  not running"
    fi
}

load_ports
case ${1:-} in
    up) up ;;
    tools)
        lock
        install_missing pika faketime
        promtool >/dev/null
        ;;
    down) down ;;
    clean) clean ;;
    env) print_env ;;
    status) status ;;
    crash)
        lock
        crash "${2:-}"
        ;;
    rabbitmqctl)
        shift
        rabbit_ctl "$@"
        ;;
    promtool)
        shift
        tool=$(promtool)
        exec "$tool" "$@"
        ;;
    *)
        sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
        exit 2
        ;;
esac
