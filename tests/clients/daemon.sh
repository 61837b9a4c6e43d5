# Finds or builds the binaries, and starts, awaits and stops daemons in the background.
# Must never touch a process that it did not start, nor let the caller's environment bring a key of its own.
# Sourced by the scripts of tests/clients, tests/story and tests/rotation, after grpcurl.sh.
# shellcheck shell=bash
# shellcheck disable=SC2034  # what is set here is read by those who source it

# A key in the caller's environment would be a second source, and another one than the test's.
unset SERVOS_MASTER_KEY SERVOS_MASTER_KEY_FILE ACT_MASTER_KEY ACT_MASTER_KEY_FILE CREDENTIALS_DIRECTORY
unset LISTEN_FDS LISTEN_PID NOTIFY_SOCKET

SERVOS_KEYD=
DAEMON_PID=

# Sets SERVOS_KEYD: from $SERVOS_KEYD_BIN_DIR, or what cargo built, or what it builds now.
find_servos_keyd() {
    local root=$1 directory
    if [[ -n ${SERVOS_KEYD_BIN_DIR:-} ]]; then
        SERVOS_KEYD=$SERVOS_KEYD_BIN_DIR/servos-keyd
        [[ -x $SERVOS_KEYD ]] || { echo "SERVOS_KEYD_BIN_DIR: no servos-keyd in $SERVOS_KEYD_BIN_DIR" >&2; return 1; }
        return
    fi
    directory=${CARGO_TARGET_DIR:-$root/target}
    if [[ -x $directory/release/servos-keyd ]]; then
        SERVOS_KEYD=$directory/release/servos-keyd
    else
        # Up to date at once where nothing changed.
        (cd "$root" && cargo build --quiet --locked --bins)
        SERVOS_KEYD=$directory/debug/servos-keyd
    fi
}

# start_daemon SOCKET LOG ARGUMENT...: starts it and returns when it serves on the socket, or fails within 30 s.
start_daemon() {
    local socket=$1 log=$2
    shift 2
    "$SERVOS_KEYD" "$@" >"$log.out" 2>"$log" &
    DAEMON_PID=$!
    local deadline=$((SECONDS + 30))
    until grpcurl "$socket" grpc.health.v1.Health/Check >/dev/null 2>&1; do
        if ! kill -0 "$DAEMON_PID" 2>/dev/null || ((SECONDS >= deadline)); then
            echo "the daemon does not serve on $socket; its log:" >&2
            cat "$log" >&2
            return 1
        fi
        sleep 0.05
    done
}

# stop_daemon [SIGNAL]: returns when the process has ended; its exit code is in DAEMON_EXIT.
stop_daemon() {
    [[ -n $DAEMON_PID ]] || return 0
    kill -"${1:-TERM}" "$DAEMON_PID" 2>/dev/null || true
    DAEMON_EXIT=0
    # The shell's own word on a killed job says nothing that DAEMON_EXIT does not.
    wait "$DAEMON_PID" 2>/dev/null || DAEMON_EXIT=$?
    DAEMON_PID=
}
