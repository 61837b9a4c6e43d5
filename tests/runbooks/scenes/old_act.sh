# shellcheck shell=bash disable=SC2034,SC2154  # sourced by within.sh, which has what it uses
title='An old ServOS or ACT installation is adopted'

scene() {
    package
    mkdir /etc/act
    printf '# ACT\r\nACT_PORT=8080\r\nACT_MASTER_KEY="%s"\r\n' "$(legacy master_key)" >/etc/act/act.env
    legacy stored >/root/rows.txt
}

answers() {
    # The kit is made by the page itself: it is typed from when it is asked for.
    echo '[["word 1 of 33: $", "@kit", "@kit"]]'
}

check() {
    servos-keyctl verify-canary
    opens /root/row.new "$(legacy_plaintext)"
    must grep -q '^ACT_PORT=8080' /etc/act/act.env
    must test "$(servos-keyctl --json status | python3 -c 'import json, sys; print(json.load(sys.stdin)["master_key"]["shared"])')" = False
    # What Restic has as its password can be had still, to the byte.
    local sealed=(/etc/act/former-master-key-*.skd1) old
    old=${sealed[0]##*-}
    old=${old%.skd1}
    servos-keyctl decrypt --key backups --base64 --context use=former-master-key --context "fingerprint=$old" \
        --in "${sealed[0]}" --out "$KEPT/old-text"
    must test "$(<"$KEPT/old-text")" = "$(legacy master_key)"
}
