# The metrics' socket, which is off until somebody enables it: numbers over HTTP, for its group alone. And doctor, on an installation
# that has nothing of its own doing to mend.
# shellcheck shell=bash
# shellcheck disable=SC2154  # machine.sh sets LEADER
! inside test -e /run/servos-keyd/metrics.sock || fail 'the socket of the metrics is there before it was enabled'
inside systemctl enable --quiet servos-keyd-metrics.socket
inside systemctl stop 'servos-keyd*'
[[ $(state ActiveState servos-keyd.socket) == inactive ]] || fail 'the sockets were not stopped'
inside systemctl start servos-keyd-metrics.socket servos-keyd
sockets_are_alive
[[ $(inside stat --format '%a %U %G' /run/servos-keyd/metrics.sock) == '660 root servos' ]] || fail 'the mode of the socket'
! inside_as outsider test -w /run/servos-keyd/metrics.sock || fail 'an outsider may open it'
said=$(curl --silent --fail --unix-socket "/proc/$LEADER/root/run/servos-keyd/metrics.sock" http://localhost/metrics)
says '# EOF' "$said"
says 'servos_keyd_' "$said"
remembered
inside systemctl disable --quiet servos-keyd-metrics.socket
inside systemctl stop servos-keyd-metrics.socket
inside systemctl restart servos-keyd

said=$(inside servos-keyctl --json doctor) || true
found=$(in_json 'sorted({one["id"] for one in it["to_mend"]})' <<<"$said")
figure "doctor, of an adopted key: $found"
for own in key-in-unit no-daemon sandbox memlock-limit memfd-secret-missing; do [[ $found != *"$own"* ]] || fail "doctor finds $own: $said"; done
