# shellcheck shell=bash disable=SC2034,SC2154  # sourced by within.sh, which has what it uses
title='The key has leaked'

scene() {
    installation --adopt-legacy
    cp "$KEPT/sealed" /root/value.txt
    servos-keyctl check-key --key-file /etc/servos/master.key
    install -m 600 /etc/servos/master.key "$KEPT/leaked"
}

check() {
    all_opens
    opens /root/value.new remembered
    # The leaked key opens nothing here any more, and nothing is left that it would be tried on.
    must_fail 1 servos-keyctl check-key --key-file "$KEPT/leaked"
    must test -z "$(find /etc/servos -name '*.old-*')"
    must test -z "$(legacy_fingerprints)"
    must servos-keyctl inspect /root/after-the-rotation.skb1 --key-file /etc/servos/master.key
    must_fail 1 servos-keyctl inspect /root/after-the-rotation.skb1 --key-file "$KEPT/leaked"
}
