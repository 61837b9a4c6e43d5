# How long a start takes, and the first answer of a daemon that its call has to start. Printed, and not judged.
# shellcheck shell=bash
ready=() service=() first=()
for ((n = 0; n < 11; n++)); do
    inside systemctl restart servos-keyd.service
    service+=("$((($(state ActiveEnterTimestampMonotonic) - $(state ExecMainStartTimestampMonotonic)) / 1000))")
    ready+=("$(inside journalctl --quiet --lines 1 --output json SERVOS_KEYD_EVENT=daemon.ready | in_json 'it["SERVOS_KEYD_TOOK_MS"]')")
    inside systemctl stop servos-keyd.service
    first+=("$(inside_as app restart-client "$SOCKET" once)")
done
median() { printf '%s\n' "$@" | sort -n | sed -n 6p; }
most() { printf '%s\n' "$@" | sort -n | tail -n 1; }
figure "from the program's beginning to READY: median $(median "${ready[@]}") ms, most $(most "${ready[@]}") ms of 11"
figure "from systemd's fork, its sandbox included, to READY: median $(median "${service[@]}") ms, most $(most "${service[@]}") ms"
figure "first answer of a daemon that was not running: median $(median "${first[@]}") ms, most $(most "${first[@]}") ms"
