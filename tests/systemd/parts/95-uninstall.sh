# Removed, installed again and purged: nothing runs and no socket is left; key, store and backups stay, and it says so; installed again,
# what was enabled is, and serves.
# shellcheck shell=bash
# nothing_runs: of an enabled unit that is not there, systemd knows the name alone.
nothing_runs() {
    local left
    left=$(inside systemctl list-units --all --plain --no-legend 'servos-keyd*' | grep -v ' not-found inactive ' || true)
    [[ -z $left ]] || fail "a unit is left: $left"
    ! inside test -S /run/servos/keyd.sock || fail 'the socket is left'
}
inside systemctl enable --quiet servos-keyd.service
said=$(inside dpkg --remove servos-keyd 2>&1)
says 'apt install servos-keyd' "$said"
says 'apt purge servos-keyd' "$said"
nothing_runs
inside test -f /etc/servos/keyd.toml
install_package this >/dev/null
[[ $(state ActiveState) == active ]] || fail 'the service, which was enabled, was not started again'
[[ $(inside systemctl is-enabled servos-keyd.service servos-keyd.socket servos-keyd-admin.socket | sort -u) == enabled ]] ||
    fail 'what was enabled is not any more'
sockets_are_alive
remembered
inside dpkg --remove servos-keyd >/dev/null 2>&1
nothing_runs
said=$(inside dpkg --purge servos-keyd 2>&1)
says '/var/lib/servos-keyd' "$said"
for file in /etc/servos/servos.env /var/lib/servos-keyd/keyd.redb /var/lib/servos-keyd/keyd.redb.mark; do
    inside test -s "$file" || fail "$file is gone"
done
[[ $(inside bash -c 'ls /var/lib/servos/keyd-backup/*.skb1 | wc -l') -gt 0 ]] || fail 'the backups are gone'
! inside test -e /etc/servos/keyd.toml || fail 'the configuration is left'
# Installed again, it goes on where it was.
install_package this >/dev/null
remembered
