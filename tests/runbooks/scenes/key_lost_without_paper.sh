# shellcheck shell=bash disable=SC2034,SC2154  # sourced by within.sh, which has what it uses
title='The key is lost, there is no paper, and the daemon runs'

scene() {
    installation
    rm /etc/servos/master.key
}

check() {
    all_opens
    systemctl restart servos-keyd
    all_opens
    must test ! -e /etc/servos/master.key.next
    must test -d /root/kit
}
