# Eight components in three languages: starts them, sees that they go on, and has their lists checked.
# Must never end a process that it did not start, nor take one for at work that has nothing new sealed.
# Sourced by tests/rotation/run, which sets home, root, SEED and RUST_CLIENT, after tests/clients/libraries.sh.
# shellcheck shell=bash
# shellcheck disable=SC2154  # set by those who source this

readonly CLIENTS=(rust rust rust python python python node node)
readonly LEGACY_ROWS=$root/tests/vectors/legacy.json
pids=()

# each_client COMMAND...: with the number of each as the last word.
each_client() {
    local client
    for client in "${!CLIENTS[@]}"; do
        "$@" "$client" || return 1
    done
}

# run_client NUMBER LANGUAGE ARGUMENT...: in the place of this process, which is one in the background.
run_client() {
    local number=$1 language=$2
    shift 2
    local command=("$RUST_CLIENT")
    [[ $language != python ]] || command=("$PYTHON_VENV/bin/python" "$here/client.py")
    [[ $language != node ]] || command=(node "$here/client.js")
    exec "${command[@]}" "$home/keyd.sock" "$@" 2>"$home/error-$number"
}

start_client() {
    local legacy=()
    # One opens values from before servos-keyd as well.
    [[ $1 != 3 ]] || legacy=("$LEGACY_ROWS")
    run_client "$1" "${CLIENTS[$1]}" "$home/list-$1" $((SEED * 8 + $1)) ${legacy[@]+"${legacy[@]}"} \
        <"$home/until" >"$home/count-$1" &
    pids[$1]=$!
}

sealed_since() {
    (($(stat -c %s "$home/list-$1" 2>/dev/null || echo 0) > ${before[$1]:-0}))
}

# all_at_work: from now on, each of them gets new values sealed, and goes on.
all_at_work() {
    local before=() client
    for client in "${!CLIENTS[@]}"; do
        before[client]=$(stat -c %s "$home/list-$client" 2>/dev/null || echo 0)
    done
    holds "all eight go on" eventually 30 each_client sealed_since
}

# ended NUMBER: well, and by itself.
ended() {
    local pid=${pids[$1]} deadline=$((SECONDS + 60))
    while kill -0 "$pid" 2>/dev/null && ((SECONDS < deadline)); do
        sleep 0.05
    done
    kill -KILL "$pid" 2>/dev/null || true
    unset "pids[$1]"
    wait "$pid"
}

# check_list NUMBER: by the language after the one that sealed it.
check_list() {
    local -A other=([rust]=python [python]=node [node]=rust)
    run_client "$1" "${other[${CLIENTS[$1]}]}" "$home/list-$1" >"$home/check-$1"
}

# checked NUMBER: its list was gone through.
checked() {
    holds "list $1, sealed in ${CLIENTS[$1]}: $(wc -l <"$home/list-$1") values" ended "$1"
}

# sum COLUMN NAME...: over the lines that the programs printed.
sum() {
    local column=$1
    shift
    cat "$@" | python3 -c 'import json, sys
print(sum(json.loads(line)[sys.argv[1]] for line in sys.stdin))' "$column"
}
