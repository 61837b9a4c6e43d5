# shellcheck shell=bash disable=SC2034,SC2154  # sourced by within.sh, which has what it uses
title='The wrong key after a move to a new server'

scene() {
    installation
    systemctl stop 'servos-keyd*'
    mkdir /root/old-server
    # The right one is in an env file among other things.
    { echo 'DB_URL=postgres://servos' && echo "SERVOS_MASTER_KEY=$(</etc/servos/master.key)"; } >/root/old-server/servos.env
    chmod 600 /root/old-server/servos.env
    servos-keyctl generate-key /root/old-server/another.key >/dev/null
    echo 'no key at all' >/root/old-server/notes.txt
    rm /etc/servos/master.key
    servos-keyctl generate-key /etc/servos/master.key >/dev/null
    must_fail 1 systemctl start servos-keyd
    must grep -q 'MASTER KEY INTEGRITY CHECK FAILED' <(journalctl --unit servos-keyd)
}

check() {
    all_opens
    must test -e /etc/servos/master.key.wrong
}
