# shellcheck shell=bash disable=SC2034,SC2154  # sourced by machine.sh, which has what it uses
title='The machine is lost'

scene() {
    installation
    kit /etc/servos/master.key
    mkdir /mnt/backup
    servos-keyctl backup /mnt/backup/keyd.skb1
    systemctl stop servos-keyd
    # Another machine: nothing of the first is on it but what the page asks for.
    rm -r /etc/servos /var/lib/servos /var/lib/servos-keyd /run/servos
    users_and_directories
}

answers() { python3 "$here/typed_shares.py" "$MACHINE/tmp/kit" 1; }

check() {
    all_opens
    must test "$(stat -c %a /etc/servos/master.key)" = 600
}
