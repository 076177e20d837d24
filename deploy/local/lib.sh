# shellcheck shell=bash
# What the scripts beside this one share: paths, ports, messages, process handling.
# Sourced, never run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
# All state of the private services: data, logs, pid files, passwords. Removed by `make clean`.
LOCAL=${LOCAL_DIR:-$ROOT/target/local}
PORT_BASE_FILE=$LOCAL/port-base
PORT_BASE_DEFAULT=27600

say() { printf '%s\n' "$*" >&2; }

die() {
    printf 'error: %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf '       %s\n' "$@" >&2
    exit 1
}

# Ports: seven in a row from one base, below Linux's ephemeral range (32768 and up), so that no
# outgoing connection of a busy machine can sit on one of them. A base once used is remembered,
# so that later commands need not repeat LOCAL_PORT_BASE.
load_ports() {
    local base=$PORT_BASE_DEFAULT
    if [ -s "$PORT_BASE_FILE" ]; then base=$(<"$PORT_BASE_FILE"); fi
    base=${LOCAL_PORT_BASE:-$base}
    if ! [[ $base =~ ^[1-9][0-9]{3,4}$ ]] || [ "$base" -lt 1024 ] || [ "$base" -gt 65529 ]; then
        die "LOCAL_PORT_BASE is '$base': it must be a port from 1024 to 65529."
    fi
    PORT_BASE=$base
    EPMD_PORT=$base
    DIST_PORT=$((base + 1))
    AMQP_PORT=$((base + 2))
    POSTGRES_PORT=$((base + 3))
    SIMULATOR_PORT=$((base + 4))
    ADMIN_PORT=$((base + 5))
    CALLBACK_PORT=$((base + 6))
    export EPMD_PORT DIST_PORT AMQP_PORT POSTGRES_PORT SIMULATOR_PORT ADMIN_PORT CALLBACK_PORT
}

remember_ports() { printf '%s\n' "$PORT_BASE" >"$PORT_BASE_FILE"; }

port_open() { (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# require_free_port PORT USE: stops with the cure when something listens there. What was killed a moment ago may
# hold its ports until the last of its threads has ended, when its pid has long been a zombie's.
require_free_port() {
    local tries=100
    while port_open "$1"; do
        [ $((tries--)) -gt 0 ] ||
            die "port $1 on 127.0.0.1, wanted for $2, is taken by another program." \
                "Choose other ports, for example: make stop; make ${MAKE_GOAL:-up} LOCAL_PORT_BASE=$((PORT_BASE + 100))" \
                "(seven ports in a row are used). To see who has it: ss -ltnp 'sport = :$1'"
        sleep 0.05
    done
}

# Field 22 of /proc/PID/stat. With the pid it names a process for good: a pid that came back
# for another program has another start time. Zombies count as gone.
start_time() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # The command name may hold blanks: count from behind its closing parenthesis.
    read -ra stat <<<"${stat##*) }"
    [ "${stat[0]}" != Z ] || return 1
    printf '%s\n' "${stat[19]}"
}

# record_pid FILE PID
record_pid() {
    local started
    started=$(start_time "$2") || return 1
    printf '%s %s\n' "$2" "$started" >"$1"
}

# live_pid FILE: the pid, if the very process recorded there still runs.
live_pid() {
    local pid started
    [ -s "$1" ] || return 1
    read -r pid started <"$1" || return 1
    [ "$(start_time "$pid")" = "$started" ] || return 1
    printf '%s\n' "$pid"
}

# stop_recorded FILE NAME SECONDS: ends the recorded process, in order if it can.
stop_recorded() {
    local file=$1 name=$2 tries=$(($3 * 10)) pid
    if ! pid=$(live_pid "$file"); then
        rm -f "$file"
        return 0
    fi
    kill -TERM "$pid" 2>/dev/null || true
    while live_pid "$file" >/dev/null; do
        if [ $((tries--)) -le 0 ]; then
            say "$name (pid $pid) did not stop in $3 s: killing it."
            kill -KILL "$pid" 2>/dev/null || true
            break
        fi
        sleep 0.1
    done
    rm -f "$file"
    say "$name stopped."
}

# What a demo on a terminal left running.
stop_demo_processes() {
    stop_recorded "$LOCAL/demo/dispatcher.pid" dispatcher 30
    stop_recorded "$LOCAL/demo/simulator.pid" simulator 10
}

# start_detached PIDFILE LOG COMMAND…: outlives this shell and its terminal. Descriptor 9 is the
# lock of services.sh: a daemon must not inherit it.
start_detached() {
    local file=$1 log=$2
    shift 2
    setsid "$@" </dev/null >>"$log" 2>&1 9>&- &
    record_pid "$file" "$!" || true
}

# await SECONDS PIDFILE COMMAND…: until the command succeeds; 1 if time is up or the process ended.
await() {
    local tries=$(($1 * 10)) file=$2
    shift 2
    until "$@"; do
        live_pid "$file" >/dev/null || return 1
        [ $((tries--)) -gt 0 ] || return 1
        sleep 0.1
    done
}

# show_log_and_die WHAT_HAPPENED LOG
show_log_and_die() {
    say "--- the last lines of $2"
    tail -n 15 "$2" >&2 || true
    say "---"
    die "$1; the last words are above, all of them in $2"
}

# A password for a private service: other users of this machine must not get in.
new_password() {
    local password
    password=$(od -An -N16 -tx1 /dev/urandom)
    printf '%s\n' "${password//[[:space:]]/}"
}
