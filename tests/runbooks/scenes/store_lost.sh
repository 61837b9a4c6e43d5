# shellcheck shell=bash disable=SC2034,SC2154  # sourced by within.sh, which has what it uses
title='The store is lost, and database and key are there'

scene() {
    installation
    servos-keyctl keyring export "$KEPT/export"
    sqlite3 /var/lib/servos/servos.db "CREATE TABLE keyring (bytes BLOB);
        INSERT INTO keyring VALUES (readfile('$KEPT/export'))"
    systemctl stop 'servos-keyd*'
    rm -r /var/lib/servos-keyd /var/lib/servos/keyd-backup
}

check() { all_opens; }
