# Installs the gRPC libraries of Python and of Node into folders that git ignores, and keeps a client written with them.
# Must never install anything outside of those folders, nor run what a package would run at its installation.
# Sourced by the scripts of tests/clients and tests/rotation.
# shellcheck shell=bash
# shellcheck disable=SC2154  # place, socket and the words of a case are set by those who source this and by table.sh

# shellcheck source=../tools.sh
source "${BASH_SOURCE[0]%/*}/../tools.sh"

readonly NODE_AT_LEAST=18
LIBRARIES=${BASH_SOURCE[0]%/*}
PYTHON_VENV=$LIBRARIES/python/.venv

# install_library python|node
install_library() {
    "install_$1"
}

install_python() {
    install_venv "$PYTHON_VENV" -r "$LIBRARIES/python/requirements.txt"
}

install_node() {
    local stamp
    has_node || { echo "no Node.js $NODE_AT_LEAST or newer with npm: install nodejs and npm" >&2; return 1; }
    stamp=$LIBRARIES/node/node_modules/installed-$(sha256sum "$LIBRARIES/node/package-lock.json" | cut -c 1-16)
    if [[ ! -e $stamp ]]; then
        (cd "$LIBRARIES/node" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null)
        touch "$stamp"
    fi
}

has_node() {
    local version
    version=$(node --version 2>/dev/null) && command -v npm >/dev/null || return 1
    version=${version#v}
    ((${version%%.*} >= NODE_AT_LEAST))
}

# The client of $CLIENT on a socket: library_client SOCKET DIRECTORY [UID]
library_client() {
    local socket=$1 directory=$2
    shift 2
    if [[ $CLIENT == python ]]; then
        exec "$PYTHON_VENV/bin/python" "$LIBRARIES/python/client.py" "$socket" "$directory" "$place/proto" "$@"
    else
        exec node "$LIBRARIES/node/client.js" "$socket" "$directory" "$place/proto" "$@"
    fi
}

# open_client SOCKET: one process and one channel for all calls until close_client, as a component has them.
open_client() {
    [[ $CLIENT != grpcurl ]] || return 0
    mkdir -p "$place/talk"
    coproc SPEAKER { library_client "$1" "$place/talk" 2>>"$place/client.log"; }
}

close_client() {
    [[ -n ${SPEAKER_PID:-} ]] || return 0
    local speaker=$SPEAKER_PID
    kill "$speaker" 2>/dev/null || true
    wait "$speaker" 2>/dev/null || true
}

# ask METHOD REQUEST: makes the call of a case; prints and returns as grpcurl does.
ask() {
    local talk=$place/talk line code=''
    printf -v line '{"method": "%s", "schema": "%s", "sends": "%s", "deadline": %s, "crowd": %s' \
        "$1" "$proto" "$sends" "$deadline" "$crowd"
    printf -v line '%s, "cancel": %s, "ready": %s, "authority": %s}' "$line" "$cancel" "$ready" "$authority"
    if [[ -n $user ]]; then
        talk=$place/talk-$user
        mkdir -p "$talk"
        chmod 777 "$talk"
        printf '%s' "$2" >"$talk/request"
        code=$(library_client "$socket" "$talk" "$user" <<<"$line" 2>>"$place/client.log") || true
    else
        printf '%s' "$2" >"$talk/request"
        # A client that ended says no code.
        if [[ -n ${SPEAKER[1]:-} ]] && echo "$line" >&"${SPEAKER[1]}"; then
            read -r -t 60 -u "${SPEAKER[0]}" code || true
        fi
    fi
    if [[ -z $code ]]; then
        tail -n 3 "$place/client.log" >&2
        return 70
    fi
    cat "$talk/out"
    cat "$talk/err" >&2
    return "$code"
}
