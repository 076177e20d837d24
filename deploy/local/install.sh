# shellcheck shell=bash
# Installs by apt-get what is missing, without starting any system service. Sourced.

rabbitmq_scripts() {
    local dir
    # The scripts behind Debian's wrapper: unlike it they run as any user.
    for dir in /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin; do
        [ -x "$dir/rabbitmq-server" ] && printf '%s\n' "$dir" && return 0
    done
    return 1
}

# postgres_bin MAJOR: the directory of that installed server; of the newest where MAJOR is empty.
postgres_bin() {
    local initdb
    # shellcheck disable=SC2086  # the pattern is meant to expand
    initdb=$(printf '%s\n' /usr/lib/postgresql/${1:-*}/bin/initdb | sort -Vr | head -n 1)
    # A pattern that matched nothing stays as it is, and is no file.
    [ -x "$initdb" ] && dirname "$initdb"
}

# missing_packages [rabbitmq] [postgres] [client] [pika] [faketime]: one package name a line.
missing_packages() {
    local want
    command -v curl >/dev/null || echo curl
    command -v cc >/dev/null || printf '%s\n' gcc libc6-dev
    for want in "$@"; do
        case $want in
            rabbitmq) rabbitmq_scripts >/dev/null || echo rabbitmq-server ;;
            postgres) postgres_bin '' >/dev/null || echo postgresql ;;
            # The README's Python example is run by a test.
            pika) has_pika python3 || has_pika /usr/bin/python3 || echo python3-pika ;;
            # A test sets the clock of one process.
            faketime) has_faketime || echo libfaketime ;;
            client) command -v psql >/dev/null || echo postgresql-client ;;
        esac
    done
}

has_pika() { "$1" -c 'import pika' 2>/dev/null; }

has_faketime() { compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null; }

install_missing() {
    local packages
    mapfile -t packages < <(missing_packages "$@")
    [ ${#packages[@]} -gt 0 ] || return 0
    local cure="apt-get install -y ${packages[*]}"
    command -v apt-get >/dev/null ||
        die "missing: ${packages[*]}, and this system has no apt-get." "Install them by hand, then run this again."
    [ "$(id -u)" = 0 ] ||
        die "missing: ${packages[*]}. Installing them needs root." "Run: sudo $cure" "then run this again."
    say "Installing ${packages[*]} ..."
    apt_install "${packages[@]}" ||
        die "apt-get could not install ${packages[*]}; the log is $LOCAL/apt.log" \
            "Check the network and /etc/apt/sources.list, then try: apt-get update && $cure"
    keep_disabled "${packages[@]}"
}

# Debian starts what it installs, unless policy-rc.d says no (exit 101).
apt_install() (
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        trap 'rm -f $policy' EXIT
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
    fi
    export DEBIAN_FRONTEND=noninteractive
    lock=(-o DPkg::Lock::Timeout=120)
    {
        apt-get "${lock[@]}" update &&
            apt-get "${lock[@]}" install -y --no-install-recommends "$@"
    } </dev/null >>"$LOCAL/apt.log" 2>&1 9>&-
)

# promtool: the path of one, installed or taken out of Debian's package of Prometheus. The package itself,
# with its server and its system service, is not installed.
promtool() {
    local tools=$ROOT/target/tools package
    if command -v promtool >/dev/null; then
        type -P promtool && return 0
    fi
    if [ ! -x "$tools/promtool" ]; then
        if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
            die "promtool, which tests the alerts, is missing, and this system has no apt-get." \
                "Put promtool of a Prometheus release into the PATH, then run this again."
        fi
        mkdir -p "$tools" "$LOCAL"
        say "Fetching promtool ..."
        package=$(cd "$tools" && fetch_package prometheus) ||
            die "apt-get could not fetch the package prometheus; the log is $LOCAL/apt.log" \
                "Check the network and /etc/apt/sources.list, or put a promtool into the PATH."
        dpkg-deb --fsys-tarfile "$tools/$package" | tar -x --to-stdout ./usr/bin/promtool >"$tools/promtool.part" ||
            die "the package $package holds no ./usr/bin/promtool."
        rm -f "$tools/$package"
        chmod 755 "$tools/promtool.part"
        mv "$tools/promtool.part" "$tools/promtool"
    fi
    printf '%s\n' "$tools/promtool"
}

# fetch_package NAME: downloads it into the working directory and prints the file's name. Package lists
# that are old, or were never read, are read first where that is allowed.
fetch_package() {
    local found
    rm -f "$1"_*.deb
    apt-get -q download "$1" >>"$LOCAL/apt.log" 2>&1 ||
        { apt-get -q update && apt-get -q download "$1"; } </dev/null >>"$LOCAL/apt.log" 2>&1 || return 1
    found=$(printf '%s\n' "$1"_*.deb)
    [ -f "$found" ] && printf '%s\n' "$found"
}

# What was just installed for us must not turn up as a system service at the next boot.
keep_disabled() {
    local package
    [ -d /run/systemd/system ] || return 0
    for package in "$@"; do
        case $package in
            rabbitmq-server | postgresql) systemctl disable --quiet "$package" 2>/dev/null || true ;;
        esac
    done
}
