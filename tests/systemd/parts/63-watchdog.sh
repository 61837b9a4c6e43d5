# The watchdog is fed by a self-test alone: a daemon whose store does not answer is killed and started anew, and clients get answers.
# shellcheck shell=bash
inside install -d /etc/systemd/system/servos-keyd.service.d
printf '[Service]\nWatchdogSec=4s\n' >"$MACHINE_ROOT/etc/systemd/system/servos-keyd.service.d/watchdog.conf"
inside systemctl daemon-reload
inside systemctl restart servos-keyd.service
pid=$(state MainPID)
# fed_since SECONDS: the watchdog, so long after the daemon's start.
fed_since() { (($(state WatchdogTimestampMonotonic) - $(state ExecMainStartTimestampMonotonic) > $1 * 1000000)); }
eventually 'the watchdog is fed for longer than two of its times' fed_since 9
[[ $(state MainPID) == "$pid" ]] || fail 'a daemon that is well was killed'
mark
mkfifo "$SCRATCH/hold"
inside inside-service "$pid" hold writer <"$SCRATCH/hold" >"$SCRATCH/held" &
exec 8>"$SCRATCH/hold"
eventually 'the writer is held' grep -q held "$SCRATCH/held"
# What needs memory alone is served meanwhile.
remembered
another() { [[ $(state MainPID) != "$pid" && $(state ActiveState) == active ]]; }
eventually 'it is started anew' another
exec 8>&-
wait
says 'Watchdog timeout' "$(since_mark --unit servos-keyd.service)"
log_says 'the store does not answer'
remembered
inside rm /etc/systemd/system/servos-keyd.service.d/watchdog.conf
inside systemctl daemon-reload
inside systemctl restart servos-keyd.service
sockets_are_alive
