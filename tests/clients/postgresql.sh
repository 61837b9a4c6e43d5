# A PostgreSQL server of its own, from the programs that Debian's package brings, in a new directory and on a socket there.
# Must never touch a server or a database of the machine, nor listen on a port.
# Sourced by tests/clients/examples and .ci/run.
# shellcheck shell=bash

POSTGRESQL_DIR=
POSTGRESQL_BIN=

# Sets POSTGRESQL_BIN to the newest that is installed.
has_postgresql() {
    local initdb
    command -v psql >/dev/null || return 1
    for initdb in $(compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort -V) $(command -v initdb || true); do
        POSTGRESQL_BIN=$(dirname "$(realpath "$initdb")")
    done
    [[ -n $POSTGRESQL_BIN ]]
}

# start_postgresql: the variables by which psql finds it are exported.
start_postgresql() {
    has_postgresql || { echo "no PostgreSQL: install Debian's postgresql" >&2; return 1; }
    POSTGRESQL_DIR=$(mktemp -d)
    ((EUID != 0)) || chown nobody "$POSTGRESQL_DIR"
    if ! run_postgresql >"$POSTGRESQL_DIR.log" 2>&1; then
        cat "$POSTGRESQL_DIR.log" "$POSTGRESQL_DIR/log" >&2
        return 1
    fi
    export PGHOST=$POSTGRESQL_DIR PGDATABASE=postgres PGUSER=postgres
}

run_postgresql() {
    as_no_root "$POSTGRESQL_BIN/initdb" --pgdata "$POSTGRESQL_DIR/data" --username postgres --auth trust --no-locale \
        --encoding UTF8 --no-sync || return
    as_no_root "$POSTGRESQL_BIN/pg_ctl" start --wait --silent --pgdata "$POSTGRESQL_DIR/data" --log "$POSTGRESQL_DIR/log" \
        --options "-c listen_addresses= -c unix_socket_directories=$POSTGRESQL_DIR -F"
}

# The server does not start as root.
as_no_root() {
    if ((EUID == 0)); then
        (cd / && setpriv --reuid nobody --regid nogroup --clear-groups "$@")
    else
        "$@"
    fi
}

stop_postgresql() {
    [[ -n $POSTGRESQL_DIR ]] || return 0
    as_no_root "$POSTGRESQL_BIN/pg_ctl" stop --wait --silent --mode immediate --pgdata "$POSTGRESQL_DIR/data" >/dev/null 2>&1 ||
        true
    rm -rf "$POSTGRESQL_DIR" "$POSTGRESQL_DIR.log"
    POSTGRESQL_DIR=
}
