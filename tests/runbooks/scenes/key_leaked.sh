# shellcheck shell=bash disable=SC2034,SC2154  # sourced by machine.sh, which has what it uses
title='The key has leaked'

scene() {
    users_and_directories
    unit LoadCredential=servos_master_key:/etc/servos/master.key
    servos-keyctl generate-key /etc/servos/master.key >/dev/null
    SERVOS_MASTER_KEY_FILE=/etc/servos/master.key servos-keyd init --adopt-legacy >/dev/null
    systemctl start servos-keyd
    remember
    cp "$MACHINE/tmp/sealed" /root/value.txt
    servos-keyctl check-key --key-file /etc/servos/master.key
    install -m 600 /etc/servos/master.key "$MACHINE/tmp/leaked"
}

check() {
    all_opens
    opens /root/value.new remembered
    # The leaked key opens nothing here any more, and nothing is left that it would be tried on.
    must_fail 1 servos-keyctl check-key --key-file "$MACHINE/tmp/leaked"
    must test -z "$(find /etc/servos -name '*.old-*')"
    must test -z "$(legacy_fingerprints)"
    must servos-keyctl inspect /root/after-the-rotation.skb1 --key-file /etc/servos/master.key
    must_fail 1 servos-keyctl inspect /root/after-the-rotation.skb1 --key-file "$MACHINE/tmp/leaked"
}
