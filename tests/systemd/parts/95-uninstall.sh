# Removed and purged: nothing runs and no socket is left; key, store and backups stay, and it says so.
# shellcheck shell=bash
inside dpkg --remove servos-keyd >/dev/null 2>&1
[[ $(inside bash -c 'systemctl list-units --all --no-legend "servos-keyd*" | grep -c . || true') == 0 ]] ||
    fail "a unit is left: $(inside systemctl list-units --all --no-legend 'servos-keyd*')"
! inside test -S /run/servos/keyd.sock || fail 'the socket is left'
inside test -f /etc/servos/keyd.toml
said=$(inside dpkg --purge servos-keyd 2>&1)
says '/var/lib/servos-keyd' "$said"
for file in /etc/servos/servos.env /var/lib/servos-keyd/keyd.redb /var/lib/servos-keyd/keyd.redb.mark; do
    inside test -s "$file" || fail "$file is gone"
done
[[ $(inside bash -c 'ls /var/lib/servos/keyd-backup/*.skb1 | wc -l') -gt 0 ]] || fail 'the backups are gone'
! inside test -e /etc/servos/keyd.toml || fail 'the configuration is left'
# Installed again, it goes on where it was.
install_package 0 >/dev/null
remembered
