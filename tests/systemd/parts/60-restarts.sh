# Eight components at work while the service is restarted twenty times and the package upgraded: no call is lost.
# shellcheck shell=bash
mkfifo "$SCRATCH/asked" "$SCRATCH/answers"
inside_as app restart-client "$SOCKET" load 8 <"$SCRATCH/asked" >"$SCRATCH/answers" &
load=$!
exec 9>"$SCRATCH/asked" 8<"$SCRATCH/answers"
# at_work: each of the eight has been answered again.
at_work() {
    local answer
    echo >&9
    read -r -t 30 answer <&8 && [[ $answer == 'at work' ]] || fail "not all of them are at work: ${answer:-nothing within 30 s}"
}
at_work
for ((n = 1; n <= 20; n++)); do
    inside systemctl restart servos-keyd.service
    if ((n == 10)); then
        before=$(state MainPID)
        said=$(install_package next)
        says 'servos-keyctl status' "$said"
        [[ $(state MainPID) != "$before" ]] || fail 'the upgrade left the old daemon running'
    fi
    at_work
done
exec 9>&-
read -r said <&8
wait "$load"
[[ $(in_json '(it["failed"], it["wrong"])' <<<"$said") == '(0, 0)' ]] || fail "$said"
figure "20 restarts and an upgrade under 8 connections: $said"
# What a client was promised, and no measure of the machine.
[[ $(in_json 'it["longest_ms"] <= 500 and it["calls"] > 1000' <<<"$said") == True ]] || fail "a call took longer than 500 ms: $said"
remembered
