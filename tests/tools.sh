# What tests take that is not here: Debian's packages, by apt, and Python's, into folders that git ignores. And what is said where that
# cannot be had.
# Must never remove a package for another's sake, nor start a server on somebody's machine.
# Sourced by .ci/run and by the scripts of tests.
# shellcheck shell=bash

# Sourced by one that sources it too.
[[ -z ${COULD_NOT_RUN:-} ]] || return 0
# Ended with by what could not run here; the gate takes it for a failure where CI=true.
readonly COULD_NOT_RUN=77

# cannot_run WHAT: ends the script.
cannot_run() {
    echo "NOT RUN: $*"
    exit "$COULD_NOT_RUN"
}

# may_be_missing WHAT COMMAND...: as the command ends, but where it could not run.
may_be_missing() {
    local what=$1 ended=0
    shift
    "$@" || ended=$?
    ((ended == COULD_NOT_RUN)) || return "$ended"
    not_checked "$what"
}

# not_checked WHAT: a failure where CI=true.
not_checked() {
    echo "NOT CHECKED: $1"
    [[ ${CI:-} != true ]]
}

# install_debian PACKAGE...: as root, on a Debian.
install_debian() {
    ((EUID == 0)) && command -v apt-get >/dev/null || return 1
    echo "installing $*"
    local options=(-qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120)
    apt-get "${options[@]}" update &&
        DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" install --yes --no-install-recommends --no-remove "$@" >/dev/null
}

# install_server PACKAGE...: one that Debian starts on a machine with systemd. Nobody asked for that but CI.
install_server() { [[ ${CI:-} == true ]] && install_debian "$@"; }

# install_venv FOLDER REQUIREMENT...: a virtual environment with these, as they are written, or `-r FILE`; unless it is there.
install_venv() {
    local folder=$1 wanted
    shift
    wanted=$*
    [[ $1 != -r ]] || wanted=$(sha256sum <"$2")
    [[ $(cat "$folder/installed" 2>/dev/null) != "$wanted" ]] || return 0
    rm -rf "$folder"
    mkdir -p "$(dirname "$folder")"
    python3 -m venv "$folder" && "$folder/bin/pip" install --quiet --disable-pip-version-check --retries 5 "$@" || return
    echo "$wanted" >"$folder/installed"
}
