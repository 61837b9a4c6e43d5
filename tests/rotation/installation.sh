# The daemon with whatever key sources it is to have, and the operator who rotates its master key.
# Must never put a key in an argument, nor call a key refused because no answer came.
# Sourced by tests/rotation/run, which sets home, KEYCTL and the counts, after tests/clients/daemon.sh.
# shellcheck shell=bash
# shellcheck disable=SC2154  # set by those who source this

# The sources of the next start: the key file of the configuration, a directory of credentials, and the file with the key
# that the environment is given; each may be empty.
key_file=
credentials=
variable=

# keyctl ARGUMENT...: as the operator; its words are in $home/said.
keyctl() {
    timeout 60 "$KEYCTL" --socket "$home/keyd-admin.sock" "$@" >"$home/said" 2>&1
}

# keyctl_refuses TEXT ARGUMENT...: it fails and says so.
keyctl_refuses() {
    local text=$1
    shift
    ! keyctl "$@" && grep -qF -- "$text" "$home/said"
}

# tells EXPRESSION VALUE: what `rotate status` says, as JSON.
tells() {
    keyctl --json rotate status && [[ $(json "$1" <"$home/said") == "$2" ]]
}

# opens FILE: the key in it opens the store, as the daemon tells.
opens() {
    keyctl check-key --config "$home/keyd.toml" --key-file "$1"
}

opens_nothing() {
    local code=0
    opens "$1" || code=$?
    ((code == 1))
}

is_pending() {
    tells 'it["rotation"] and it["rotation"]["state"]' pending
}

# alone FILE [FORMER]: no rotation is left, the key in the one opens the store, and that in the other does not.
alone() {
    tells 'it["rotation"]' null && opens "$1" && { [[ -z ${2:-} ]] || opens_nothing "$2"; }
}

both_open() {
    is_pending && opens "$former" && opens "$1.next"
}

# configure FILE: with that key file, or with none.
configure() {
    local file=''
    [[ -z $1 ]] || file="file = \"$1\""
    cat >"$home/keyd.toml" <<TOML
[socket]
path = "$home/keyd.sock"
admin_path = "$home/keyd-admin.sock"
group = ""
[store]
path = "$home/state/keyd.redb"
[backup]
dir = "$home/state/backup"
[master_key]
$file
TOML
}

start() {
    configure "$key_file"
    starts=$((starts + 1))
    # Of the environment, and so of no argument.
    [[ -z $credentials ]] || export CREDENTIALS_DIRECTORY=$credentials
    if [[ -n $variable ]]; then
        SERVOS_MASTER_KEY=$(<"$variable")
        export SERVOS_MASTER_KEY
    fi
    start_daemon "$home/keyd.sock" "$home/log.$starts" serve --config "$home/keyd.toml"
    unset CREDENTIALS_DIRECTORY SERVOS_MASTER_KEY
}

# start_again: behind a kill, and says how far a rotation was.
start_again() {
    start
    echo "              started again: $(grep -oE 'rotation\.(pending|finished|resumed|aborted)' "$home/log.$starts" |
        paste -s -d ' ' | grep . || echo 'no rotation is under way')"
}

restart() {
    stop_daemon
    holds "asked to stop, it stops" test "$DAEMON_EXIT" = 0
    start
}

# kill_daemon WHEN
kill_daemon() {
    stop_daemon KILL
    kills=$((kills + 1))
    holds "killed $1 (kill $kills)" test "$DAEMON_EXIT" = 137
}

# keep_old FILE: as it is before the rotation.
keep_old() {
    former=$home/former/$((finished + 1))
    sed -n 's/^\(SERVOS_MASTER_KEY=\)\{0,1\}\([0-9A-Za-z+/=]\{44,\}\)$/\2/p' "$1" >"$former"
}

# begin FILE [ARGUMENT...]: with the .next that is there, as one begins again, or with one that it makes.
begin() {
    local file=$1
    shift
    [[ -e $file.next ]] || set -- --generate "$@"
    keyctl rotate begin --yes "$@"
}

# put_new_key FILE: in the place of the old one, at once.
put_new_key() {
    { if grep -q '^SERVOS_MASTER_KEY=' "$1"; then grep -v '^SERVOS_MASTER_KEY=' "$1"; fi && cat "$1.next"; } >"$1.changed"
    mv "$1.changed" "$1"
}

# The one that was asked may have got its answer, or may have lost it with the daemon.
finish_again() {
    local code=0
    wait "$job" || code=$?
    job=
    ((code == 0)) || keyctl rotate finish --yes
}

# exits CODE FILE: what a start does that is given this key.
exits() {
    local code=0 wanted=$1
    configure "$2"
    timeout 60 "$SERVOS_KEYD" serve --config "$home/keyd.toml" >/dev/null 2>"$home/said" || code=$?
    [[ $code == "$wanted" ]]
}

integrity_check_fails() {
    exits 78 "$1" && grep -q 'MASTER KEY INTEGRITY CHECK FAILED' "$home/said"
}
