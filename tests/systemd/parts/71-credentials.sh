# The drop-ins: the key alone in a file; the key sealed by systemd-creds, also where that cannot be opened here. And an
# option that the daemon does not know: no start is made without end.
# shellcheck shell=bash
drop_ins=/usr/share/doc/servos-keyd/drop-ins
unit_d=/etc/systemd/system/servos-keyd.service.d
inside install -d "$unit_d"
# starts_stay_few: since the mark, while somebody called, there was a start, and there were no more than two a second.
starts_stay_few() {
    local starts seconds
    seconds=$(($(date +%s) - ${MARK:1:10} + 1))
    starts=$(since_mark --unit servos-keyd.service --identifier systemd | grep -c '^Starting ')
    ((starts >= 1 && starts <= 2 * seconds)) || fail "$starts starts in $seconds seconds"
}
restarted() { inside systemctl daemon-reload && inside systemctl restart servos-keyd.service; }
inside bash -c 'umask 077; sed -n "s/^SERVOS_MASTER_KEY=//p" /etc/servos/servos.env >/etc/servos/master.key'
inside mv /etc/servos/servos.env /root/servos.env
inside cp "$drop_ins/key-file.conf" "$unit_d/"
restarted
remembered
says 'credential servos_master_key' "$(inside servos-keyctl status)"
inside rm "$unit_d/key-file.conf"

inside install -d -m 700 /etc/credstore.encrypted
inside systemd-creds encrypt --with-key=host --name=servos_master_key /etc/servos/master.key /etc/credstore.encrypted/servos_master_key
inside cp "$drop_ins/encrypted-credential.conf" "$unit_d/"
inside mv /etc/servos/master.key /root/master.key
restarted
remembered
# Sealed on another machine, as far as this one can tell.
inside systemctl stop servos-keyd.service
inside mv /var/lib/systemd/credential.secret /root/
mark
inside timeout 4 servos-keyctl --socket "$SOCKET" verify-canary >/dev/null 2>&1 || true
eventually 'the log says what systemd could not do' log_says 'the credential with the master key cannot be read, or not be opened'
starts_stay_few
sockets_are_alive
inside mv /root/credential.secret /var/lib/systemd/
remembered
inside rm "$unit_d/encrypted-credential.conf"
inside mv /root/servos.env /etc/servos/servos.env

# An option that the daemon does not know, which it sees before it has the sockets.
printf '[Service]\nExecStart=\nExecStart=/usr/bin/servos-keyd serve --no-such-option\n' >"$MACHINE_ROOT$unit_d/option.conf"
inside systemctl daemon-reload
inside systemctl stop servos-keyd.service
mark
inside timeout 4 servos-keyctl --socket "$SOCKET" verify-canary >/dev/null 2>&1 || true
starts_stay_few
sockets_are_alive
inside rm "$unit_d/option.conf"
restarted
remembered
