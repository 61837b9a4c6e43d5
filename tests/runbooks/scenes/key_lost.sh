# shellcheck shell=bash disable=SC2034,SC2154  # sourced by within.sh, which has what it uses
title='The key is lost, and the paper is there'

scene() {
    installation
    kit /etc/servos/master.key
    head -c 20 /etc/servos/master.key >"$KEPT/half"
    cp "$KEPT/half" /etc/servos/master.key
    must_fail 78 servos-keyctl check-key --key-file /etc/servos/master.key
}

answers() { python3 "$here/typed_shares.py" "$KEPT/kit" 2; }

check() {
    all_opens
    must cmp "$KEPT/half" /etc/servos/master.key.damaged
    must servos-keyctl check-key --key-file /etc/servos/master.key
}
