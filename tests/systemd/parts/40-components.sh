# A user of the group calls; another does not reach the socket, nor either of them the operators'.
# shellcheck shell=bash
opens "$(seal_as app)" 'a secret of app'
refused 77 '/run/servos/keyd.sock' inside_as outsider servos-keyctl --socket "$SOCKET" verify-canary
for user in app outsider; do
    refused 77 '/run/servos/keyd-admin.sock' inside_as "$user" servos-keyctl status
done
# The group alone lets nobody into the operators' socket, nor into the daemon's places.
for file in /var/lib/servos-keyd/keyd.redb /etc/servos/servos.env /run/credentials/servos-keyd.service/servos.env; do
    ! inside_as app cat "$file" >/dev/null 2>&1 || fail "a component reads $file"
done
