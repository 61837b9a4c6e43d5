#!/usr/bin/env bash
# What a scene does on its machine: the disaster, what is typed where a command of the page asks, and what must be true afterwards.
#
#   within.sh DIRECTORY SCENE befall|answers|check
#
# A scene defines `title`, `scene` (the disaster), `answers` (a list of JSON) and `check`. DIRECTORY holds the scenes, and what is remembered
# from one to the other. Must never run outside of a machine of its own. Called by `run`.
set -euo pipefail
readonly here=$1 SCENE=$1/scenes/$2.sh KEPT=$1/kept
[[ $(systemd-detect-virt --container) == systemd-nspawn ]] || { echo "no machine of its own"; exit 70; }
mkdir -p "$KEPT"
cd /root

package() { dpkg -i /root/servos-keyd_*.deb >/dev/null 2>&1; }

# drop_in NAME: one of the package's.
drop_in() {
    install -D -m 644 -t /etc/systemd/system/servos-keyd.service.d "/usr/share/doc/servos-keyd/drop-ins/$1"
    systemctl daemon-reload
}

# installation [OPTION...]: one that runs, with a key of its own, a value, and an application's canary.
installation() {
    package
    drop_in key-file.conf
    servos-keyctl generate-key /etc/servos/master.key >/dev/null
    SERVOS_MASTER_KEY_FILE=/etc/servos/master.key servos-keyd init "$@" >/dev/null
    systemctl enable --quiet --now servos-keyd
    remember
}

readonly CELL=(--context table=env --context id=7f3e --context column=value)

# remember: what must open in the end.
remember() {
    printf 'remembered' | servos-keyctl encrypt --key env-vars "${CELL[@]}" --base64 >"$KEPT/sealed"
    servos-keyctl canary issue --base64 >/root/app.canary
}

# opens FILE TEXT: a value in base64 holds this.
opens() {
    local got
    got=$(servos-keyctl decrypt --key env-vars "${CELL[@]}" --base64 --in "$1")
    [[ $got == "$2" ]] || { echo "it opened to something else"; return 1; }
}

all_opens() {
    opens "$KEPT/sealed" remembered
    servos-keyctl verify-canary
    servos-keyctl verify-canary --base64 /root/app.canary
}

# kit: two of three shares, as the words on paper.
kit() {
    mkdir "$KEPT/kit"
    servos-keyctl recovery-kit --key-file "$1" --shares 2/3 --out "$KEPT/kit" >/dev/null
}

# legacy FIELD: of a row that ServOS sealed itself, from the vectors of another implementation: master_key, in hex; stored.
legacy() {
    python3 -c 'import json, sys
row = json.load(open(sys.argv[1]))["rows"][1]
print(row[sys.argv[2]])' "$here/legacy.json" "$1"
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
    "$@" >"$KEPT/refused" 2>&1 || code=$?
    [[ $code == "$wanted" ]] || { echo "NOT SO: $* ended with $code, not $wanted"; cat "$KEPT/refused"; exit 1; }
}

answers() { echo '[]'; }

# shellcheck source=/dev/null
source "$SCENE"

case $3 in
    befall) scene ;;
    answers) answers ;;
    check) check ;;
esac
