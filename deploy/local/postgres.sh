# shellcheck shell=bash
# A private PostgreSQL cluster: own data and port, loopback only, durable as in production. Sourced.

POSTGRES=$LOCAL/postgres
POSTGRES_DATA=$POSTGRES/data
POSTGRES_LOG=$POSTGRES/server.log

database_url() {
    printf 'postgres://dispatcher:%s@127.0.0.1:%s/dispatcher' "$(<"$LOCAL/postgres.password")" "$POSTGRES_PORT"
}

# postgres_tool NAME: its path, of the version that made the data where there is any.
postgres_tool() {
    local major='' bin
    if [ -s "$POSTGRES_DATA/PG_VERSION" ]; then major=$(<"$POSTGRES_DATA/PG_VERSION"); fi
    bin=$(postgres_bin "$major") ||
        die "the data in $POSTGRES is of PostgreSQL $major, which is not installed." \
            "Remove the data: make clean (or install postgresql-$major)"
    printf '%s/%s\n' "$bin" "$1"
}

# PostgreSQL refuses to run as root: there it runs as user postgres. That user may not be able to
# enter the directories above (a checkout under /root): then, and only then, the server gets the
# one capability that lets it pass. Fills AS_POSTGRES, the words to put before a command.
AS_POSTGRES=()
choose_postgres_user() {
    local probe=(ls "$POSTGRES/.")
    [ "$(id -u)" = 0 ] || return 0
    AS_POSTGRES=(setpriv --reuid=postgres --regid=postgres --clear-groups)
    # Not `test -w`: access(2) knows nothing of ambient capabilities.
    if (cd / && "${AS_POSTGRES[@]}" "${probe[@]}") >/dev/null 2>&1; then return 0; fi
    AS_POSTGRES+=(--inh-caps=+dac_override --ambient-caps=+dac_override)
    if (cd / && "${AS_POSTGRES[@]}" "${probe[@]}") >/dev/null 2>&1; then return 0; fi
    die "user postgres cannot enter $POSTGRES, and PostgreSQL does not run as root." \
        "Put the data elsewhere, for example: export LOCAL_DIR=/var/tmp/dispatcher-local"
}

# as_postgres COMMAND…: call choose_postgres_user before.
as_postgres() (cd / && exec "${AS_POSTGRES[@]}" "$@")

# By the process's own words: a stale postmaster.pid may name a zombie or another program.
postgres_running() {
    local pid command
    [ -s "$POSTGRES_DATA/postmaster.pid" ] || return 1
    pid=$(head -n 1 "$POSTGRES_DATA/postmaster.pid")
    command=$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") 2>/dev/null || return 1
    [[ $command == *"-D $POSTGRES_DATA "* ]]
}

# After a crash of the machine or a kill -9. Server processes that outlive their postmaster for a
# moment must be gone before another may start on the same data: all of them work in it.
postgres_clear_stale() {
    local tries=100
    [ -e "$POSTGRES_DATA/postmaster.pid" ] || return 0
    # shellcheck disable=SC2016  # expands in the inner shell
    while as_postgres bash -c 'for p in /proc/[0-9]*; do [ "$p/cwd" -ef "$1" ] && exit; done; exit 1' - "$POSTGRES_DATA"; do
        [ $((tries--)) -gt 0 ] || die "processes of a dead PostgreSQL still use $POSTGRES_DATA." "End them, then run this again."
        sleep 0.1
    done
    rm -f "$POSTGRES_DATA/postmaster.pid"
}

postgres_prepare() {
    mkdir -p "$POSTGRES"
    [ -s "$LOCAL/postgres.password" ] || (umask 077 && new_password >"$LOCAL/postgres.password")
    if [ "$(id -u)" = 0 ]; then chown postgres:postgres "$POSTGRES"; fi
    chmod 700 "$POSTGRES"
    choose_postgres_user
}

postgres_init() {
    [ ! -e "$POSTGRES/initialised" ] || return 0
    # A cluster that was never finished is worth nothing.
    rm -rf "$POSTGRES_DATA"
    # User postgres cannot read our copy of the password.
    (umask 077 && cp "$LOCAL/postgres.password" "$POSTGRES/password")
    if [ "$(id -u)" = 0 ]; then chown postgres "$POSTGRES/password"; fi
    as_postgres "$(postgres_tool initdb)" -D "$POSTGRES_DATA" -U postgres -E UTF8 --locale=C.UTF-8 \
        -A scram-sha-256 --pwfile="$POSTGRES/password" >"$LOCAL/initdb.log" 2>&1 9>&- ||
        show_log_and_die "PostgreSQL did not start" "$LOCAL/initdb.log"
    rm -f "$POSTGRES/password"
}

postgres_settings() {
    printf '%s\n' \
        "-c listen_addresses=127.0.0.1" "-c port=$POSTGRES_PORT" "-c unix_socket_directories=" \
        "-c max_connections=200" "-c fsync=on" "-c synchronous_commit=on" "-c log_min_messages=warning"
}

postgres_start() {
    postgres_prepare
    postgres_init
    postgres_clear_stale
    as_postgres "$(postgres_tool pg_ctl)" -D "$POSTGRES_DATA" -l "$POSTGRES_LOG" -w -t 60 \
        -o "$(postgres_settings | tr '\n' ' ')" start </dev/null >>"$LOCAL/pg_ctl.log" 2>&1 9>&- ||
        show_log_and_die "PostgreSQL did not start" "$POSTGRES_LOG"
    postgres_create_role
}

# The daemon's role is no superuser; tests and the demo make databases of their own.
postgres_create_role() {
    [ ! -e "$POSTGRES/initialised" ] || return 0
    local password
    password=$(<"$LOCAL/postgres.password")
    PGPASSWORD=$password psql -X -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$POSTGRES_PORT" -U postgres -d postgres <<SQL
create role dispatcher login createdb password '$password';
create database dispatcher owner dispatcher;
SQL
    touch "$POSTGRES/initialised"
}

postgres_stop() {
    postgres_running || return 0
    choose_postgres_user
    as_postgres "$(postgres_tool pg_ctl)" -D "$POSTGRES_DATA" -m fast -w -t 60 stop >/dev/null
    say "PostgreSQL stopped."
}

# Every process of the server ends at once; the next start recovers from the log.
postgres_crash() {
    choose_postgres_user
    as_postgres "$(postgres_tool pg_ctl)" -D "$POSTGRES_DATA" -m immediate -w -t 60 stop >/dev/null
    postgres_start
}
