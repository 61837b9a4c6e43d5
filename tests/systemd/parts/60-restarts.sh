# Eight components at work while the service is restarted twenty times and the package upgraded: no call is lost.
# shellcheck shell=bash
mkfifo "$SCRATCH/end"
inside_as app restart-client "$SOCKET" load 8 <"$SCRATCH/end" >"$SCRATCH/load" &
load=$!
exec 9>"$SCRATCH/end"
# at_work: all eight are connected to the daemon that runs now, and have called it.
at_work() {
    [[ $(inside servos-keyctl --json status | in_json '(
        sum(one["connections"] for one in it["connections"]["peers"] if one["socket"] == "component") == 8 and
        sum(one["calls"] for one in it["calls"]["operations"]) > 100)') == True ]]
}
eventually 'eight are at work' at_work
for ((n = 1; n <= 20; n++)); do
    inside systemctl restart servos-keyd.service
    if ((n == 10)); then
        before=$(state MainPID)
        said=$(install_package next)
        says 'servos-keyctl status' "$said"
        [[ $(state MainPID) != "$before" ]] || fail 'the upgrade left the old daemon running'
    fi
    eventually 'eight are at work again' at_work
done
exec 9>&-
wait "$load"
said=$(<"$SCRATCH/load")
[[ $(in_json '(it["failed"], it["wrong"])' <<<"$said") == '(0, 0)' ]] || fail "$said"
figure "20 restarts and an upgrade under 8 connections: $said"
# What a client was promised, and no measure of the machine.
[[ $(in_json 'it["longest_ms"] <= 500 and it["calls"] > 1000' <<<"$said") == True ]] || fail "a call took longer than 500 ms: $said"
remembered
