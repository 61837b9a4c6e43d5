# shellcheck shell=bash disable=SC2034,SC2154  # sourced by machine.sh, which has what it uses
title='The store is lost, and database and key are there'

scene() {
    installation
    servos-keyctl keyring export "$MACHINE/tmp/export"
    sqlite3 /var/lib/servos/servos.db "CREATE TABLE keyring (bytes BLOB);
        INSERT INTO keyring VALUES (readfile('$MACHINE/tmp/export'))"
    systemctl stop servos-keyd
    rm -r /var/lib/servos-keyd /var/lib/servos/keyd-backup
}

check() { all_opens; }
