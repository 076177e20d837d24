# shellcheck shell=bash
# A private RabbitMQ node: own name, data, cookie, epmd and ports, loopback only. Sourced.

RABBIT=$LOCAL/rabbitmq
RABBIT_PID=$RABBIT/node.pid
EPMD_PID=$RABBIT/epmd.pid

amqp_url() { printf 'amqp://dispatcher:%s@127.0.0.1:%s/%%2f' "$(<"$RABBIT/password")" "$AMQP_PORT"; }

# Listening is not enough: a node answers an AMQP header only once it has booted.
# Any 8 bytes that are no valid greeting make the broker answer with its own header.
rabbit_ready() {
    local answer
    answer=$(
        {
            printf 'AMQP\0\0\0\0' >&3
            timeout 2 head -c 4 <&3 | tr -d '\0'
        } 2>/dev/null 3<>"/dev/tcp/127.0.0.1/$AMQP_PORT"
    ) || return 1
    [ "$answer" = AMQP ]
}

rabbit_running() { live_pid "$RABBIT_PID" >/dev/null; }

# Only what is set here applies: no file of a system installation is read.
rabbit_env() {
    export HOME=$RABBIT/home
    export ERL_EPMD_PORT=$EPMD_PORT ERL_EPMD_ADDRESS=127.0.0.1
    export RABBITMQ_CONF_ENV_FILE=/dev/null
    export RABBITMQ_NODENAME=dispatcher@localhost
    export RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$AMQP_PORT
    export RABBITMQ_DIST_PORT=$DIST_PORT
    export RABBITMQ_MNESIA_BASE=$RABBIT/data RABBITMQ_LOG_BASE=$RABBIT/log
    export RABBITMQ_CONFIG_FILE=$RABBIT/rabbitmq.conf
    export RABBITMQ_ADVANCED_CONFIG_FILE=$RABBIT/none.config
    export RABBITMQ_GENERATED_CONFIG_DIR=$RABBIT/generated
    export RABBITMQ_ENABLED_PLUGINS_FILE=$RABBIT/enabled_plugins
    export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
    # Makes the script replace itself by the Erlang machine: one process, one pid.
    export RUNNING_UNDER_SYSTEMD=true
    unset NOTIFY_SOCKET RABBITMQ_PID_FILE RABBITMQ_USE_LONGNAME ERL_FLAGS ERL_AFLAGS ERL_ZFLAGS
}

rabbit_configure() {
    mkdir -p "$RABBIT"/{home,data,log,generated}
    [ -s "$RABBIT/password" ] || (umask 077 && new_password >"$RABBIT/password")
    # The one plugin is light: the contract's shards use it.
    echo '[rabbitmq_consistent_hash_exchange].' >"$RABBIT/enabled_plugins"
    rm -f "$RABBIT/rabbitmq.conf"
    (
        umask 077
        cat >"$RABBIT/rabbitmq.conf" <<CONF
listeners.tcp.1 = 127.0.0.1:$AMQP_PORT
default_user = dispatcher
default_pass = $(<"$RABBIT/password")
log.file.level = warning
# Laptops have little room: refuse to publish only when nearly nothing is left.
disk_free_limit.absolute = 200MB
CONF
    )
}

rabbit_check_ports() {
    if ! rabbit_running; then
        require_free_port "$AMQP_PORT" "RabbitMQ"
        require_free_port "$DIST_PORT" "RabbitMQ's node"
    fi
    live_pid "$EPMD_PID" >/dev/null || require_free_port "$EPMD_PORT" "Erlang's port mapper"
}

rabbit_start() {
    rabbit_configure
    if ! live_pid "$EPMD_PID" >/dev/null; then
        start_detached "$EPMD_PID" "$RABBIT/epmd.log" epmd -address 127.0.0.1 -port "$EPMD_PORT"
    fi
    (
        rabbit_env
        start_detached "$RABBIT_PID" "$RABBIT/console.log" "$(rabbitmq_scripts)/rabbitmq-server"
    )
}

rabbit_await() {
    await 90 "$RABBIT_PID" rabbit_ready || show_log_and_die "RabbitMQ did not start" "$RABBIT/console.log"
}

rabbit_stop() {
    # A node that still boots does not listen to SIGTERM.
    if rabbit_running; then await 30 "$RABBIT_PID" rabbit_ready || true; fi
    stop_recorded "$RABBIT_PID" RabbitMQ 40
    # Port mapper without nodes: nothing left to tell.
    stop_recorded "$EPMD_PID" "RabbitMQ's port mapper" 5
}

# SIGKILL, and a start on the data that it leaves.
rabbit_crash() {
    local pid
    pid=$(live_pid "$RABBIT_PID") || return 0
    kill -KILL "$pid"
    while live_pid "$RABBIT_PID" >/dev/null; do sleep 0.05; done
    rabbit_check_ports
    rabbit_start
    rabbit_await
}

# rabbit_ctl ARGUMENTS…: rabbitmqctl on the private node.
rabbit_ctl() (
    rabbit_env
    exec "$(rabbitmq_scripts)/rabbitmqctl" "$@"
)
