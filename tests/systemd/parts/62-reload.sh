# The configuration is read again without a restart; one that is not valid changes nothing.
# shellcheck shell=bash
pid=$(state MainPID)
reload_says() {
    mark
    inside systemctl reload servos-keyd.service
    eventually "the log says $1" log_says "$1"
}
inside cp -p /etc/servos/keyd.toml /root/keyd.toml
inside sed -i 's/^level = "info"/level = "debug"/' /etc/servos/keyd.toml
reload_says 'SERVOS_KEYD_IN_FORCE=log.level'
inside sed -i 's/^streams = 128/streams = 64/' /etc/servos/keyd.toml
reload_says 'SERVOS_KEYD_AFTER_RESTART=limits.streams'
status_names_it() { inside systemctl status servos-keyd.service | grep 'Status:.*after a restart: limits.streams' >/dev/null; }
eventually 'status names it' status_names_it
inside sed -i 's/^streams = 64/streams = 0/' /etc/servos/keyd.toml
reload_says 'the configuration before stays in force'
remembered
inside cp -p /root/keyd.toml /etc/servos/keyd.toml
reload_says 'SERVOS_KEYD_IN_FORCE=log.level'
[[ $(state MainPID) == "$pid" && $(state ActiveState) == active ]] || fail 'a reload restarted it'
