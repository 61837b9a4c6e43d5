#!/usr/bin/env bash
# One machine: an installation as docs/operations.md makes it, the disaster of a scene, the page that is followed, and what
# must be true afterwards.
#
#   machine.sh SCENE DIRECTORY PAGE SERVOS_KEYD SERVOS_KEYCTL
#
# A scene defines `title`, `scene` (the disaster), `answers` (what is typed where a command asks) and `check`.
# Must never run outside of a mount namespace of its own. Called by `run`.
set -euo pipefail
readonly SCENE=$1 MACHINE=$2 PAGE=$3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[[ $(readlink /proc/self/ns/mnt) != "$(readlink /proc/1/ns/mnt)" ]] || { echo "no namespace of its own"; exit 70; }

# --- a machine
mkdir -p "$MACHINE"/{lib,run,root,mnt,bin,tmp}
cp -a /etc "$MACHINE/etc"
install -m 755 "$4" "$MACHINE/bin/servos-keyd"
install -m 755 "$5" "$MACHINE/bin/servos-keyctl"
install -m 755 "$here/systemctl" "$MACHINE/bin/systemctl"
mount --bind "$MACHINE/etc" /etc
mount --bind "$MACHINE/lib" /var/lib
mount --bind "$MACHINE/run" /run
mount --bind "$MACHINE/root" /root
mount --bind "$MACHINE/mnt" /mnt
mount --bind "$MACHINE/bin" /usr/local/bin
export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/root
unset SERVOS_KEYD_SOCKET
cd /root

finish() {
    local code=$?
    systemctl stop servos-keyd || true
    ((code == 0)) || { echo "--- the daemon said:"; tail -n 40 /run/servos-keyd.log 2>/dev/null || true; }
    exit "$code"
}
trap finish EXIT

# users_and_directories: step 1 of docs/operations.md, but for the programs, which are here already.
users_and_directories() {
    getent group servos >/dev/null || groupadd --system servos
    id -u servos-keyd >/dev/null 2>&1 ||
        useradd --system --gid servos --home-dir /nonexistent --shell /usr/sbin/nologin servos-keyd
    install -d -m 755 /etc/servos /var/lib/servos
    install -d -m 700 -o servos-keyd -g servos /var/lib/servos-keyd
    install -d -m 750 -o servos-keyd -g servos /run/servos
}

# unit LINE: the unit of docs/operations.md, with this line in the place of its LoadCredential=.
unit() {
    local operations
    operations=$(dirname "$PAGE")/operations.md
    mkdir -p /etc/systemd/system
    # shellcheck disable=SC2016  # the marks of a block
    sed -n '/^```ini$/,/^```$/p' "$operations" | sed -n '/^\[Service\]$/,/^```$/p' | sed '/^```$/d' |
        sed "s#^LoadCredential=.*#$1#" >/etc/systemd/system/servos-keyd.service
    grep -qxF "$1" /etc/systemd/system/servos-keyd.service
}

# installation: one that runs, with a key of its own, a value, and an application's canary.
installation() {
    users_and_directories
    unit LoadCredential=servos_master_key:/etc/servos/master.key
    servos-keyctl generate-key /etc/servos/master.key >/dev/null
    SERVOS_MASTER_KEY_FILE=/etc/servos/master.key servos-keyd init >/dev/null
    systemctl start servos-keyd
    remember
}

readonly CELL=(--context table=env --context id=7f3e --context column=value)

# remember: what must open in the end.
remember() {
    printf 'remembered' | servos-keyctl encrypt --key env-vars "${CELL[@]}" --base64 >"$MACHINE/tmp/sealed"
    servos-keyctl canary issue --base64 >/root/app.canary
}

# opens FILE TEXT: a value in base64 holds this.
opens() {
    local got
    got=$(servos-keyctl decrypt --key env-vars "${CELL[@]}" --base64 --in "$1")
    [[ $got == "$2" ]] || { echo "it opened to something else"; return 1; }
}

all_opens() {
    opens "$MACHINE/tmp/sealed" remembered
    servos-keyctl verify-canary
    servos-keyctl verify-canary --base64 /root/app.canary
}

# kit: two of three shares, as the words on paper.
kit() {
    mkdir "$MACHINE/tmp/kit"
    servos-keyctl recovery-kit --key-file "$1" --shares 2/3 --out "$MACHINE/tmp/kit" >/dev/null
}

# legacy FIELD: of a row that ServOS sealed itself, from the vectors of another implementation: master_key, in hex; stored.
legacy() {
    python3 -c 'import json, sys
row = json.load(open(sys.argv[1]))["rows"][1]
print(row[sys.argv[2]])' "$here/../vectors/legacy.json" "$1"
}

legacy_plaintext() {
    legacy plaintext | python3 -c 'import sys; print(bytes.fromhex(sys.stdin.read().strip()).decode())'
}

# legacy_fingerprints: the former master keys that are held.
legacy_fingerprints() {
    servos-keyctl --json status | python3 -c 'import json, sys
for key in json.load(sys.stdin)["legacy_keys"]: print(key["fingerprint"])'
}

# must COMMAND...: or the scene says why it is none.
must() {
    "$@" || { echo "NOT SO: $*"; exit 1; }
}

# must_fail CODE COMMAND...
must_fail() {
    local wanted=$1 code=0
    shift
    "$@" >"$MACHINE/tmp/refused" 2>&1 || code=$?
    [[ $code == "$wanted" ]] || { echo "NOT SO: $* ended with $code, not $wanted"; cat "$MACHINE/tmp/refused"; exit 1; }
}

answers() { echo '[]'; }
title=

# shellcheck source=/dev/null
source "$SCENE"

echo "--- the scene"
scene
answers >"$MACHINE/tmp/answers.json"
echo "--- the page"
python3 "$here/follow.py" "$PAGE" "$title" "$MACHINE/tmp/answers.json"
echo "--- afterwards"
check
