# shellcheck shell=bash disable=SC2034,SC2154  # sourced by within.sh, which has what it uses
title='An older database was restored'

scene() {
    package
    (umask 077 && echo "SERVOS_MASTER_KEY=$(legacy master_key)" >/etc/servos/servos.env)
    cp -p /etc/servos/servos.env /root/servos.env.old
    SERVOS_MASTER_KEY_FILE=/etc/servos/servos.env servos-keyd init --adopt-legacy >/dev/null
    systemctl enable --quiet --now servos-keyd
    remember
    servos-keyctl rotate run --yes --components-migrated >/dev/null
    legacy_fingerprints |
        while read -r old; do servos-keyctl legacy retire --yes "$old" </dev/null; done
    # The database of before: rows that nothing opens now.
    legacy stored >/root/rows.txt
    must_fail 65 servos-keyctl decrypt --key env-vars --no-context --allow-legacy --base64 --in /root/rows.txt
}

check() {
    all_opens
    opens /root/row.new "$(legacy_plaintext)"
}
