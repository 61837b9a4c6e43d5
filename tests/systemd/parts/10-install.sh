# The package, on a ServOS that has a key: it makes users, places and sockets, touches no key, makes no store, and says what comes next.
# shellcheck shell=bash
key=$(inside sha256sum /etc/servos/servos.env)
began=$(date +%s%N)
said=$(install_package this)
figure "installed in $((($(date +%s%N) - began) / 1000000)) ms"
says 'servos-keyd init --adopt-legacy' "$said"
[[ $(inside sha256sum /etc/servos/servos.env) == "$key" ]] || fail 'the key file was touched'
! inside test -e /var/lib/servos-keyd/keyd.redb || fail 'a store was made'
sockets_are_alive
[[ $(state ActiveState) == inactive ]] || fail 'the daemon was started without a store'
for expected in '/run/servos 750 root servos' '/run/servos/keyd.sock 660 root servos' '/run/servos/keyd-admin.sock 600 root root' \
    '/var/lib/servos-keyd 700 servos-keyd servos-keyd' '/var/lib/servos/keyd-backup 700 servos-keyd servos-keyd' \
    '/etc/servos/keyd.toml 644 root root'; do
    found=$(inside stat --format '%n %a %U %G' "${expected%% *}")
    [[ $found == "$expected" ]] || fail "$found, and it should be $expected"
done
inside useradd --system --user-group --groups servos app
inside useradd --system --user-group outsider
for page in servos-keyd servos-keyctl; do inside man --where "$page" >/dev/null; done
inside systemd-analyze verify servos-keyd.service servos-keyd.socket servos-keyd-admin.socket
