# shellcheck shell=bash disable=SC2034,SC2154  # sourced by within.sh, which has what it uses
title='The machine is lost'

scene() {
    installation
    kit /etc/servos/master.key
    mkdir -p /mnt/backup
    servos-keyctl backup /mnt/backup/keyd.skb1
    # Another machine: nothing of the first is on it but what the page asks for.
    dpkg --purge servos-keyd >/dev/null 2>&1
    rm -rf /etc/servos /etc/systemd/system/servos-keyd* /var/lib/servos /var/lib/servos-keyd /run/servos
    userdel servos-keyd
    groupdel servos
}

answers() { python3 "$here/typed_shares.py" "$KEPT/kit" 1; }

check() {
    all_opens
    must test "$(stat -c %a /etc/servos/master.key)" = 600
}
