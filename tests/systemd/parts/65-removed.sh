# A socket's file, and the directory of the sockets, are removed under the daemon: status, doctor and the log say so, and what doctor
# names brings them back, for the components' group too.
# shellcheck shell=bash
told() { inside servos-keyctl --json status | grep -F "The socket $1 is gone" >/dev/null; }
# mended ID: what doctor names under this id is done.
mended() {
    local said mend
    said=$(inside servos-keyctl --json doctor) || true
    mend=$(in_json "[one['mend'] for one in it['to_mend'] if one['id'] == '$1'][0]" <<<"$said")
    inside sh -c "$mend"
    remembered
    [[ $(inside stat --format '%a %U %G' /run/servos) == '750 root servos' ]] || fail "the directory of the sockets after: $mend"
    ! inside servos-keyctl --json status | grep -F 'is gone' >/dev/null || fail 'status tells of a socket that is there'
}
mark
inside rm /run/servos/keyd.sock
eventually 'status tells of the socket' told /run/servos/keyd.sock
eventually 'the log tells of the socket' log_says 'SERVOS_KEYD_EVENT=socket.gone'
mended socket-gone
inside rm -r /run/servos
mended no-daemon
