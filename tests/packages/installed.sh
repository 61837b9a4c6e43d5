#!/usr/bin/env bash
# A package's life on a copy of this machine: installed, followed to a store, upgraded, disabled, downgraded, removed, purged.
#
#   installed.sh DEB NEXT_DEB RPM NEXT_VERSION
#
# The copy is an overlay in memory over the machine's own root; its systemctl writes down what it is told. Must never run outside
# of a mount namespace of its own. Called by `run`.
set -euo pipefail
[[ $(readlink /proc/self/ns/mnt) != "$(readlink /proc/1/ns/mnt)" ]] || { echo "no namespace of its own"; exit 70; }
deb=$(realpath "$1") next=$(realpath "$2") rpm=$(realpath "$3") next_version=$4

memory=$(mktemp -d)
mount -t tmpfs tmpfs "$memory"
mkdir "$memory"/{upper,work,root}
machine=$memory/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$memory/upper,workdir=$memory/work" "$machine"
# dpkg's lists may be on another file system than the root.
mount -t proc proc "$machine/proc"
mount --rbind /dev "$machine/dev"
mount -t tmpfs tmpfs "$machine/run"
mount -t tmpfs -o mode=1777 tmpfs "$machine/tmp"
mkdir -p "$machine/run/systemd/system" "$machine/run/lock"
rm -f "$machine/usr/sbin/policy-rc.d"
cp "$deb" "$machine/tmp/old.deb"
cp "$next" "$machine/tmp/next.deb"
cp "$rpm" "$machine/tmp/package.rpm"
# A machine without a trace of servos-keyd, whatever this one holds.
rm -rf "$machine"/etc/servos "$machine"/var/lib/servos "$machine"/var/lib/servos-keyd \
    "$machine"/etc/systemd/system/servos-keyd.service.d
sed -i '/^servos/d; /^servos-keyd/d' "$machine"/etc/{passwd,group,shadow,gshadow}
mv "$machine/usr/bin/systemctl" "$machine/usr/bin/systemctl.real"
install -m 755 /dev/stdin "$machine/usr/bin/systemctl" <<'END'
#!/bin/sh
# Enabled is what has its link, and the real one makes it; nothing runs.
for unit; do :; done
case "$*" in
*is-enabled*) [ -e "/etc/systemd/system/sockets.target.wants/$unit" ] || [ -e "/etc/systemd/system/multi-user.target.wants/$unit" ] &&
    echo enabled || { echo disabled; exit 1; } ;;
*is-active*) exit 3 ;;
--root=*) exec systemctl.real "$@" ;;
*) echo "$*" >>/run/calls ;;
esac
END

inside() {
    chroot "$machine" env PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"
}

fail() {
    printf 'FAIL  %s\n' "$*" >&2
    cat "$machine/run/said" "$machine/run/calls" >&2 2>/dev/null || true
    exit 1
}

checked() {
    printf 'ok    %s\n' "$*"
}

# dpkg_does ARGUMENTS...: what it says is in $said, and what systemctl was told in $calls.
dpkg_does() {
    : >"$machine/run/calls"
    inside dpkg --force-depends --force-confold "$@" >"$machine/run/said" 2>&1 || fail "dpkg $*"
    said=$(<"$machine/run/said")
    calls=$(<"$machine/run/calls")
}

# says TEXT
says() {
    [[ $said == *"$1"* ]] || fail "it does not say: $1"
}

readonly ENABLED=/etc/systemd/system/sockets.target.wants
readonly STORE=/var/lib/servos-keyd/keyd.redb

# --- A new machine: users, places and sockets, and nothing else.
dpkg_does --install /tmp/old.deb
says 'servos-keyctl generate-key /etc/servos/master.key'
(($(grep -c '^    ' <<<"$said") == 1)) || fail 'it names more than one command, or none'
for expected in '/run/servos 750 root servos' '/var/lib/servos-keyd 700 servos-keyd servos-keyd' \
    '/var/lib/servos/keyd-backup 700 servos-keyd servos-keyd' '/etc/servos/keyd.toml 644 root root'; do
    found=$(inside stat --format '%n %a %U %G' "${expected%% *}")
    [[ $found == "$expected" ]] || fail "$found, and it should be $expected"
done
[[ $(inside ls /etc/servos) == keyd.toml && -z $(inside ls -A /var/lib/servos-keyd) ]] || fail 'a key or a store was made'
inside test -e "$ENABLED/servos-keyd.socket" -a -e "$ENABLED/servos-keyd-admin.socket" || fail 'the sockets are not enabled'
[[ $calls == *'start servos-keyd.socket servos-keyd-admin.socket'* ]] || fail 'the sockets are not started'
[[ $calls != *'start servos-keyd.service'* || $calls == *'try-restart servos-keyd.service'* ]] || fail 'the service is started'
checked 'installed: users, places and sockets, no key and no store; it names the command that comes next'

# --- Purged at once, nothing is left of it.
dpkg_does --purge servos-keyd
inside test ! -e /var/lib/servos-keyd -a ! -e /etc/servos/keyd.toml -a ! -e "$ENABLED/servos-keyd.socket" || fail 'something is left'
checked 'purged where nothing was ever sealed: nothing is left'

# --- Without a systemd that runs, as in a chroot.
rm -r "$machine/run/systemd"
dpkg_does --install /tmp/old.deb
[[ -z $calls ]] || fail 'systemctl was called where no systemd runs'
inside test -e "$ENABLED/servos-keyd.socket" || fail 'the sockets are not enabled'
mkdir -p "$machine/run/systemd/system"
checked 'installed where no systemd runs'

# --- A ServOS that exists: each command that it names is the one that is right.
key=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
(umask 077 && printf 'SERVOS_MASTER_KEY=%s\n' "$key" >"$machine/etc/servos/servos.env")
sum=$(inside sha256sum /etc/servos/servos.env)
said=$(inside /usr/libexec/servos-keyd/next-command)
says 'servos-keyd init --adopt-legacy'
inside sh -c "$(sed -n 's/^    //p' <<<"$said")" >/dev/null
[[ $(inside stat --format '%U %a' "$STORE") == 'servos-keyd 600' ]] || fail 'the store is not the daemon'\''s'
said=$(inside /usr/libexec/servos-keyd/next-command)
says 'servos-keyctl status'
mv "$machine$STORE" "$machine/tmp/aside"
said=$(inside /usr/libexec/servos-keyd/next-command)
says 'servos-keyd fsck'
mv "$machine/tmp/aside" "$machine$STORE"
echo 'nonsense' >>"$machine/etc/servos/keyd.toml"
said=$(inside /usr/libexec/servos-keyd/next-command)
says 'servos-keyctl config check'
sed -i '$d' "$machine/etc/servos/keyd.toml"
mv "$machine/etc/servos/servos.env" "$machine/etc/servos/master.key"
said=$(inside /usr/libexec/servos-keyd/next-command)
says 'drop-ins/key-file.conf'
inside sh -c "$(sed -n 's/^    //p' <<<"$said")"
said=$(inside /usr/libexec/servos-keyd/next-command)
says 'servos-keyctl status'
mv "$machine/etc/servos/master.key" "$machine/etc/servos/servos.env"
rm -r "$machine/etc/systemd/system/servos-keyd.service.d"
checked 'the command that it names leads from key to store to status'

# --- Upgraded: nothing is stopped, and what the operator configured stays.
echo '# mine' >>"$machine/etc/servos/keyd.toml"
store=$(inside sha256sum "$STORE")
dpkg_does --install /tmp/next.deb
# shellcheck disable=SC2016  # dpkg's own mark
[[ $(inside dpkg-query --show --showformat '${Version}' servos-keyd) == "$next_version" ]] || fail 'it is not the next version'
[[ $calls != *stop* && $calls == *'try-restart servos-keyd.service'* ]] || fail 'an upgrade restarts, and stops nothing'
[[ $(tail -n 1 "$machine/etc/servos/keyd.toml") == '# mine' ]] || fail 'the configuration was replaced'
[[ $(inside sha256sum "$STORE") == "$store" ]] || fail 'the store was touched'
checked 'upgraded: the service restarts and nothing is stopped; configuration and store stay'

# --- What an administrator disabled stays so, also through a downgrade.
rm "$machine$ENABLED"/servos-keyd*.socket
dpkg_does --install /tmp/old.deb
inside test ! -e "$ENABLED/servos-keyd.socket" || fail 'the sockets were enabled again'
[[ $calls != *' start servos-keyd'* ]] || fail 'sockets that are disabled were started'
checked 'downgraded: what was disabled stays disabled'

# --- Removed, and installed again: what was enabled is, what was disabled is not, and what was enabled is started.
inside systemctl.real --root=/ --quiet enable servos-keyd.service servos-keyd-admin.socket servos-keyd-metrics.socket
dpkg_does --remove servos-keyd
says 'apt install servos-keyd'
says 'apt purge servos-keyd'
dpkg_does --install /tmp/old.deb
for unit in "$ENABLED/servos-keyd-admin.socket" "$ENABLED/servos-keyd-metrics.socket" "${ENABLED/sockets/multi-user}/servos-keyd.service"; do
    inside test -e "$unit" || fail "$unit is not enabled any more"
done
inside test ! -e "$ENABLED/servos-keyd.socket" || fail 'a socket that was disabled is enabled'
[[ $calls == *'start servos-keyd-admin.socket servos-keyd-metrics.socket'* && $calls == *'restart servos-keyd.service'* ]] ||
    fail 'what is enabled was not started'
checked 'removed and installed again: units are enabled and disabled as before, and what is enabled is started'

# --- Removed, and purged: key, store, backups, drop-ins and users stay, and it says so.
mkdir -p "$machine/etc/systemd/system/servos-keyd.service.d"
echo '[Service]' >"$machine/etc/systemd/system/servos-keyd.service.d/override.conf"
dpkg_does --remove servos-keyd
[[ $calls == *'stop servos-keyd.socket servos-keyd-admin.socket servos-keyd-metrics.socket servos-keyd.service'* ]] || fail 'nothing was stopped'
inside test ! -e /usr/bin/servos-keyd -a -e /etc/servos/keyd.toml || fail 'not removed, or the configuration with it'
dpkg_does --purge servos-keyd
says 'keys, stores, backups and drop-ins are not removed'
says '/etc/systemd/system/servos-keyd*.d'
inside test -e /etc/systemd/system/servos-keyd.service.d/override.conf || fail 'a drop-in is gone'
[[ -z $(inside find /etc/systemd/system /var/lib/systemd -name 'servos-keyd*' ! -name 'servos-keyd.service.d') ]] || fail 'a link to a unit is left'
[[ $(inside sha256sum "$STORE") == "$store" ]] || fail 'the store is gone'
[[ $(inside sha256sum /etc/servos/servos.env) == "$sum" ]] || fail 'the key is gone'
[[ -n $(inside sh -c 'ls /var/lib/servos/keyd-backup/*.skb1') ]] || fail 'the backups are gone'
inside test ! -e /etc/servos/keyd.toml || fail 'the configuration is left'
inside id servos-keyd >/dev/null
checked 'removed and purged: key, store, backups, drop-ins and users stay, and it says so'

# --- The .rpm, with a database of its own.
: >"$machine/run/calls"
said=$(inside rpm --install --nodeps --dbpath /tmp/rpmdb /tmp/package.rpm 2>&1) || fail "rpm: $said"
says 'servos-keyctl status'
grep -q 'enable servos-keyd.socket servos-keyd-admin.socket' "$machine/run/calls" || fail 'the .rpm enables nothing'
: >"$machine/run/calls"
said=$(inside rpm --upgrade --force --nodeps --dbpath /tmp/rpmdb /tmp/package.rpm 2>&1) || fail "rpm: $said"
! grep -q stop "$machine/run/calls" || fail 'the .rpm stops something in an upgrade'
said=$(inside rpm --erase --dbpath /tmp/rpmdb servos-keyd 2>&1) || fail "rpm: $said"
says 'keys, stores, backups and drop-ins are not removed'
[[ $(inside sha256sum "$STORE") == "$store" ]] || fail 'the store is gone'
checked 'the .rpm installed, put over itself and erased'
