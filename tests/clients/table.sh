# Reads a table of cases and plays it against a socket with one client: cases/README.md says how one is written.
# Must never pass a case that it did not compare, nor stop at the first that fails.
# Sourced by tests/clients/run, which sets CLIENT, VALUES, place and here.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # set here and read by grpcurl.sh; set by the runner and read here

passed=0
failed=0
skipped=0

# record NAME COMMAND...: counts what the command says.
record() {
    local name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
        echo "ok    $name"
    else
        failed=$((failed + 1))
        echo "FAIL  $name"
    fi
}

# The closing line; fails if anything did.
report() {
    echo "$passed passed, $failed failed, $skipped skipped"
    ((failed == 0 && passed > 0))
}

# run_table FILE SOCKET: plays every case of a table, in order.
run_table() {
    local file=$1 socket=$2 line
    echo "--    $(basename "$file" .cases)"
    new_case
    while IFS= read -r line <&3 || [[ -n $line ]]; do
        case $line in
            '') end_case ;;
            '#'*) ;;
            *) take "${line%% *}" "${line#* }" ;;
        esac
    done 3<"$file"
    end_case
}

new_case() {
    case_name='' user='' proto='' method='' expected_code='' expected_text=''
    sends=one only='' deadline=30 crowd=1 cancel=false ready=false authority=true
    steps=() answers=() keeps=() prints=() hides=() awaited=''
}

take() {
    local word=$1 rest=$2
    case $word in
        case) case_name=$rest ;;
        user) user=$rest ;;
        proto) proto=$rest ;;
        let | file | folder | move | exchange | mode | remove) steps+=("$word $rest") ;;
        until) awaited=$rest ;;
        call | list | describe) method=$word\ $rest ;;
        never | nothing) sends=$word ;;
        only) only=$rest ;;
        deadline | crowd) printf -v "$word" %s "$rest" ;;
        cancel | ready) printf -v "$word" true ;;
        nameless) authority=false ;;
        fails) expected_code=$rest expected_text='*' ;;
        error)
            expected_code=${rest%% *} expected_text=''
            [[ $rest != *' '* ]] || expected_text=${rest#* }
            ;;
        answer) answers+=("$rest") ;;
        keep) keeps+=("$rest") ;;
        prints) prints+=("$rest") ;;
        hides) hides+=("$rest") ;;
        *)
            echo "$file: unknown word: $word" >&2
            exit 1
            ;;
    esac
}

end_case() {
    # What describe prints is grpcurl's own.
    [[ $method != describe* ]] || only=grpcurl
    if [[ -n $method && " ${only:-$CLIENT} " == *" $CLIENT "* ]]; then
        if [[ -n $user ]] && ((EUID != 0)); then
            skipped=$((skipped + 1))
            echo "skip  $case_name (only root can become another user)"
        else
            record "$case_name" play
        fi
    fi
    new_case
}

# Plays the case that was read: makes its values, calls, compares.
play() {
    local one out=$place/out err=$place/err code=0
    for one in ${steps[@]+"${steps[@]}"}; do
        prepare_case "${one%% *}" "${one#* }" || return 1
    done
    call >"$out" 2>"$err" || code=$?
    [[ -z $awaited ]] || await "$out" "$err" || return 1
    if [[ -n $expected_code ]]; then
        same_error "$code" "$err"
        return
    fi
    if ((code != 0)); then
        echo "      $CLIENT ended with $code: $(<"$err")"
        return 1
    fi
    for one in ${answers[@]+"${answers[@]}"}; do
        evaluate - "$one" <"$out" || return 1
    done
    for one in ${keeps[@]+"${keeps[@]}"}; do
        evaluate "${one%% *}" "${one#* }" <"$out" || return 1
    done
    same_text "$out"
}

# What stands before the call: makes a value, or changes a file of the installation as its operator does.
prepare_case() {
    local word=$1 name=${2%% *} rest=${2#* } home
    home=$(<"$VALUES/home")
    case $word in
        let) evaluate "$name" "$rest" </dev/null ;;
        file) evaluate file "$rest" </dev/null && install -m 600 "$VALUES/file" "$home/$name" && rm "$VALUES/file" ;;
        folder) mkdir "$home/$name" ;;
        move) mv "$home/$name" "$home/$rest" ;;
        exchange) python3 "$here/exchange.py" "$home/$name" "$home/$rest" ;;
        mode) chmod "$rest" "$home/$name" ;;
        remove) rm -r "${home:?}/$name" ;;
    esac
}

# Repeats the call until the awaited is true of its answer.
await() {
    local out=$1 err=$2 end=$((SECONDS + deadline))
    until evaluate - "$awaited" <"$out" >/dev/null; do
        if ((SECONDS >= end)); then
            evaluate - "$awaited" <"$out"
            return 1
        fi
        sleep 0.1
        call >"$out" 2>"$err" || { cat "$err"; return 1; }
    done
}

call() {
    local verb=${method%% *} rest=${method#* } options=()
    [[ -z $proto ]] || options+=(-import-path "$place/proto" -proto "$proto.proto")
    if [[ $verb == call ]]; then
        local name=${rest%% *} body={}
        [[ $rest != *' '* ]] || body=$(expand "${rest#* }")
        [[ $name == grpc.* ]] || name=servos.keyd.v1.$name
        if [[ $CLIENT == grpcurl ]]; then
            call_rpc "$name" "$body" ${options[@]+"${options[@]}"}
        else
            ask "$name" "$body"
        fi
    elif [[ $CLIENT != grpcurl ]]; then
        ask "$verb" {}
    elif [[ $rest == "$verb" ]]; then
        grpcurl "$socket" "$verb"
    else
        grpcurl "$socket" "$verb" "$rest"
    fi
}

# With grpcurl. The request goes by standard input: some are larger than an argument can be. A request that never comes ends long
# after the daemon's deadline, for grpcurl reports an error only when its input ends.
call_rpc() {
    local name=$1 body=$2 GRPCURL_AS=()
    shift 2
    [[ -z $user ]] || GRPCURL_AS=(setpriv --reuid "$user" --regid "$user" --clear-groups)
    case $sends in
        one) grpcurl "$@" -d @ "$socket" "$name" <<<"$body" ;;
        nothing) grpcurl "$@" -d @ "$socket" "$name" </dev/null ;;
        never) sleep 6 | grpcurl "$@" -d @ "$socket" "$name" ;;
    esac
}

# Puts the kept values in the places of their <names>.
expand() {
    local rest=$1 out=''
    while [[ $rest =~ ^([^<]*)\<([a-z0-9_]+)\>(.*)$ ]]; do
        rest=${BASH_REMATCH[3]}
        out+=${BASH_REMATCH[1]}$(<"$VALUES/${BASH_REMATCH[2]}")
    done
    printf '%s' "$out$rest"
}

# evaluate NAME|- EXPRESSION < ANSWER
evaluate() {
    python3 "$here/check.py" "$VALUES" "$1" "$2" 2>"$place/unlike" && return
    tail -n 12 "$place/unlike" | sed 's/^/      /'
    return 1
}

# A text of * stands for any: it is the client library's own.
same_error() {
    local code=$1 err=$2 wanted got
    if [[ $expected_text == '*' ]] && ((code != 0)) && [[ $(sed -n 2p "$err") == "  Code: $expected_code" ]]; then
        return
    fi
    wanted=$(printf 'ERROR:\n  Code: %s\n  Message: %s' "$expected_code" "$(expand "$expected_text")")
    got=$(<"$err")
    if ((code == 0)) || [[ $got != "$wanted" ]]; then
        printf '      wanted %s\n      got    %s (exit %s)\n' "${wanted//$'\n'/ }" "${got//$'\n'/ }" "$code"
        return 1
    fi
}

same_text() {
    local out=$1 one
    for one in ${prints[@]+"${prints[@]}"}; do
        grep -qF -- "$one" "$out" || { echo "      does not print: $one"; return 1; }
    done
    for one in ${hides[@]+"${hides[@]}"}; do
        ! grep -qF -- "$one" "$out" || { echo "      prints: $one"; return 1; }
    done
}
