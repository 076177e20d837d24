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
# one capability that lets it pass.
as_postgres() {
    if [ "$(id -u)" != 0 ]; then
        "$@"
        return
    fi
    local drop=(setpriv --reuid=postgres --regid=postgres --clear-groups)
    if ! "${drop[@]}" test -w "$POSTGRES" 2>/dev/null; then
        drop+=(--inh-caps=+dac_override --ambient-caps=+dac_override)
        "${drop[@]}" test -w "$POSTGRES" 2>/dev/null ||
            die "user postgres cannot enter $POSTGRES, and PostgreSQL does not run as root." \
                "Put the data elsewhere, for example: export LOCAL_DIR=/var/tmp/dispatcher-local"
    fi
    (cd "$POSTGRES" && exec "${drop[@]}" "$@")
}

postgres_running() {
    [ -s "$POSTGRES_DATA/postmaster.pid" ] &&
        as_postgres "$(postgres_tool pg_ctl)" -D "$POSTGRES_DATA" status >/dev/null 2>&1
}

postgres_prepare() {
    mkdir -p "$POSTGRES"
    [ -s "$LOCAL/postgres.password" ] || (umask 077 && new_password >"$LOCAL/postgres.password")
    if [ "$(id -u)" = 0 ]; then chown postgres:postgres "$POSTGRES"; fi
    chmod 700 "$POSTGRES"
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
        show_log_and_die PostgreSQL "$LOCAL/initdb.log"
    rm -f "$POSTGRES/password"
}

postgres_settings() {
    printf '%s\n' \
        "-c listen_addresses=127.0.0.1" "-c port=$POSTGRES_PORT" "-c unix_socket_directories=" \
        "-c max_connections=200" "-c fsync=on" "-c synchronous_commit=on" "-c log_min_messages=warning"
}

postgres_start() {
    require_free_port "$POSTGRES_PORT" "PostgreSQL"
    postgres_prepare
    postgres_init
    as_postgres "$(postgres_tool pg_ctl)" -D "$POSTGRES_DATA" -l "$POSTGRES_LOG" -w -t 60 \
        -o "$(postgres_settings | tr '\n' ' ')" start </dev/null >>"$LOCAL/pg_ctl.log" 2>&1 9>&- ||
        show_log_and_die PostgreSQL "$POSTGRES_LOG"
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
    as_postgres "$(postgres_tool pg_ctl)" -D "$POSTGRES_DATA" -m fast -w -t 60 stop >/dev/null
    say "PostgreSQL stopped."
}
