# One part of the story, on the machine that runs: `judge.sh PART NSPAWN SCRATCH`. It ends at what the part does not expect.
# Must never look away: what is not asserted is not proved.
# Called by run for each file of parts/.
# shellcheck shell=bash
set -Eeuo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=machine.sh
source "$here/machine.sh"
readonly PART=$1 SCRATCH=$3
# shellcheck disable=SC2034  # machine.sh reads it
MACHINE=$SCRATCH/machine
NSPAWN=$2
find_leader
# shellcheck disable=SC2034  # parts read it
readonly MACHINE_ROOT=$SCRATCH/machine/root
readonly SOCKET=/run/servos/keyd.sock
trap 'echo "it ended at line $LINENO: $BASH_COMMAND"' ERR

# figure TEXT: a line of the report.
figure() { printf '    %s\n' "$*"; }

# fail TEXT
fail() {
    echo "NOT SO: $*"
    exit 1
}

# says WORDS TEXT: the text has these words in it.
says() { [[ $2 == *"$1"* ]] || fail "it does not say \"$1\": $2"; }

# refused CODE WORDS COMMAND...: it ends with the code, and says the words.
refused() {
    local code=0 wanted=$1 words=$2 said
    shift 2
    said=$("$@" 2>&1) || code=$?
    [[ $code == "$wanted" ]] || fail "$* ended with $code, not $wanted: $said"
    says "$words" "$said"
}

# state PROPERTY [UNIT]
state() { inside systemctl show --property "$1" --value "${2:-servos-keyd.service}"; }

# eventually WHAT COMMAND...: within 30 s.
eventually() {
    local what=$1 deadline=$((SECONDS + 30))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || fail "$what: not within 30 s"
        sleep 0.1
    done
}

is() { [[ $("${@:2}") == "$1" ]]; }

# mark: what the journal says from here on is asked for with since_mark.
# By time: with a cursor, journalctl of systemd 252 leaves out the first entry that a filter lets through.
mark() { MARK=@$(date +%s.%6N); }
since_mark() { inside journalctl --quiet --output cat --since "$MARK" "$@"; }

# log_says WORDS: since the mark, in a message or in a field.
log_says() { since_mark --unit servos-keyd.service --output export | grep -F -- "$1" >/dev/null; }

sockets_are_alive() {
    [[ $(state ActiveState servos-keyd.socket) == active && $(state ActiveState servos-keyd-admin.socket) == active ]] ||
        fail "a socket unit is $(state ActiveState servos-keyd.socket), $(state ActiveState servos-keyd-admin.socket)"
}

readonly CELL=(--context table=env --context id=7f3e --context column=value)

# seal_as USER: a value, in base64.
seal_as() { printf 'a secret of %s' "$1" | inside_as "$1" servos-keyctl --socket "$SOCKET" encrypt --key env-vars "${CELL[@]}" --base64; }

# opens VALUE TEXT
opens() {
    local got
    got=$(printf '%s' "$1" | inside_as app servos-keyctl --socket "$SOCKET" decrypt --key env-vars "${CELL[@]}" --base64)
    [[ $got == "$2" ]] || fail "it opened to something else"
}

# remembered: the value that was sealed first, and must open to the end.
remembered() { opens "$(<"$SCRATCH/remembered")" 'a secret of app'; }

# failing_starts EXIT WORDS: the service does not start, fifty times: whoever waits is answered and closed, the sockets live,
# status and the journal say why in one line, and the operator's own socket does too.
failing_starts() {
    local code=$1 words=$2 said
    inside systemctl stop servos-keyd.service
    mark
    refused 75 'servos-keyd did not start' inside_as app servos-keyctl --socket "$SOCKET" verify-canary
    says "$words" "$(inside systemctl status servos-keyd.service --no-pager --lines 0 | grep '^ *Status: ')"
    eventually 'the start ends' is failed state ActiveState
    said=$(since_mark --unit servos-keyd.service --priority err SERVOS_KEYD_EVENT=daemon.failed)
    says "$words" "$said"
    [[ $(wc -l <<<"$said") == 1 ]] || fail "the journal says it in more than one line: $said"
    [[ $(state ExecMainStatus) == "$code" ]] || fail "it ended with $(state ExecMainStatus)"
    refused 75 "$words" inside servos-keyctl status
    eventually 'the start ends' is failed state ActiveState
    # Eight at once are one start, and each is answered.
    # shellcheck disable=SC2016  # of the shell within
    inside bash -c 'for n in 1 2 3 4 5 6 7 8; do
            (code=0; timeout 5 servos-keyctl --socket '"$SOCKET"' verify-canary >/dev/null 2>&1 || code=$?; echo $code) &
        done; wait' >"$SCRATCH/codes"
    [[ $(sort -u "$SCRATCH/codes") == 75 && $(wc -l <"$SCRATCH/codes") == 8 ]] || fail "of eight: $(tr '\n' ' ' <"$SCRATCH/codes")"
    # shellcheck disable=SC2016  # of the shell within
    inside bash -c 'for ((n = 0; n < 47; n++)); do
            until [[ $(systemctl show --property ActiveState --value servos-keyd.service) == failed ]]; do sleep 0.05; done
            servos-keyctl --socket '"$SOCKET"' verify-canary >/dev/null 2>&1 || true
        done'
    eventually 'the start ends' is failed state ActiveState
    said=$(since_mark --unit servos-keyd.service --identifier systemd | grep -c '^Starting ')
    ((said >= 50)) || fail "there were $said starts, not 50"
    sockets_are_alive
    figure "$said failed starts with $code, \"$words\": everyone answered, both sockets alive"
}

# install_package this|next: the package of the commit, or the one after it.
install_package() { inside env DEBIAN_FRONTEND=noninteractive dpkg -i "/root/packages/$1.deb" 2>&1; }

# in_json EXPRESSION: of the JSON on standard input, called `it`.
in_json() { python3 -c 'import json, sys; it = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"; }

# shellcheck source=/dev/null
source "$PART"
