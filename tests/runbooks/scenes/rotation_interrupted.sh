# shellcheck shell=bash disable=SC2034,SC2154  # sourced by within.sh, which has what it uses
title='A rotation was interrupted'

scene() {
    installation
    # Cut off between the key file and the restart, and the machine went down.
    must_fail 69 servos-keyctl rotate run --yes --restart 'false'
    systemctl kill --signal KILL servos-keyd
    systemctl stop 'servos-keyd*'
    must test -e /etc/servos/master.key.rotation
}

check() {
    all_opens
    must test ! -e /etc/servos/master.key.rotation
    must test ! -e /etc/servos/master.key.next
    must servos-keyctl check-key --key-file /etc/servos/master.key
}
