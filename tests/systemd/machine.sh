# A machine with a real systemd: a minimal Debian, made once and kept, over which each run lays a new one and boots it.
# Must never write to the Debian that is kept, nor leave a machine running or mounted.
# Sourced by run, tests/guides/run and tests/runbooks/run.
# shellcheck shell=bash

# shellcheck source=../tools.sh
source "${BASH_SOURCE[0]%/*}/../tools.sh"

# What is asked of Debian. Another list is another base.
readonly PACKAGES=systemd,systemd-sysv,dbus,procps,man-db,ca-certificates,python3,sqlite3
readonly RELEASE=bookworm
MACHINE=
LEADER=

# machine_is_possible: or says why it is not, and ends with 77.
machine_is_possible() {
    [[ $(id -u) == 0 ]] || cannot_run "only root boots a machine"
    unshare --mount --propagation private true 2>/dev/null || cannot_run "this system refuses a mount namespace"
    local missing=()
    command -v debootstrap >/dev/null || missing+=(debootstrap)
    command -v systemd-nspawn >/dev/null || missing+=(systemd-container)
    ((${#missing[@]} == 0)) || install_debian "${missing[@]}" || cannot_run "it takes ${missing[*]}: apt-get install ${missing[*]}"
}

# make_base DIRECTORY: the Debian, unless it is there whole.
make_base() {
    local base=$1 made="$RELEASE $PACKAGES"
    [[ ! -f $base/made || $(<"$base/made") != "$made" ]] || return 0
    echo "making a Debian in $base"
    rm -rf --one-file-system "$base"
    mkdir -p "$base"
    if ! debootstrap --variant=minbase --include="$PACKAGES" "$RELEASE" "$base/root" >"$base/log" 2>&1; then
        tail -n 20 "$base/log"
        return 1
    fi
    rm -rf "$base"/root/var/cache/apt/archives/*.deb
    printf '%s\n' "$made" >"$base/made"
}

# boot BASE DIRECTORY: a new machine over the base, with everything of its own in the directory.
boot() {
    MACHINE=$2
    mkdir -p "$MACHINE"/{upper,work,root}
    mount -t overlay overlay -o "lowerdir=$1/root,upperdir=$MACHINE/upper,workdir=$MACHINE/work" "$MACHINE/root"
    # What systemd-nspawn's own filter refuses to every machine: memory that root cannot read, and the daemon's sandbox.
    local calls='memfd_secret @memlock seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self'
    # Ended with 133, it is to be booted anew.
    (
        code=133
        while ((code == 133)); do
            code=0
            systemd-nspawn --directory="$MACHINE/root" --boot --register=no --keep-unit --machine="keyd-test-$$" \
                --private-network --console=pipe --system-call-filter="$calls" || code=$?
        done
    ) >"$MACHINE/console" 2>&1 </dev/null &
    NSPAWN=$!
    await_boot
}

# find_leader: sets LEADER to the machine's first process, or to nothing.
find_leader() {
    LEADER=
    local nspawn
    nspawn=$(pgrep -x -P "$NSPAWN" systemd-nspawn || true)
    [[ -z $nspawn ]] || LEADER=$(pgrep -P "$nspawn" | head -n 1 || true)
}

# await_boot: returns when all units of the boot have been started.
await_boot() {
    local deadline=$((SECONDS + 60)) state
    while ((SECONDS < deadline)); do
        find_leader
        if [[ -n $LEADER ]]; then
            state=$(inside systemctl is-system-running 2>/dev/null || true)
            [[ $state != running && $state != degraded ]] || return 0
        fi
        kill -0 "$NSPAWN" 2>/dev/null || break
        sleep 0.1
    done
    echo "the machine does not boot (${state:-no answer}):"
    tail -n 20 "$MACHINE/console"
    return 1
}

# inside COMMAND...: as root of the machine, in its namespaces.
inside() {
    nsenter --target "$LEADER" --all -- /usr/bin/env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb "$@"
}

# inside_as USER COMMAND...
inside_as() {
    local user=$1
    shift
    inside setpriv --reuid "$user" --regid "$user" --init-groups --inh-caps=-all "$@"
}

# at_a_terminal FOLLOWER ARGUMENT...: the follower types /root/page.sh at a terminal, as root of the machine does who has logged in.
at_a_terminal() {
    python3 "$@" nsenter --target "$LEADER" --all --wd="/proc/$LEADER/root/root" -- /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        HOME=/root TERM=dumb LANG=C.UTF-8 bash --norc -c 'cd /root && exec bash --norc /root/page.sh' </dev/null
}

# stop_machine: ends it, and takes its mount away.
stop_machine() {
    if [[ -n ${NSPAWN:-} ]] && kill -0 "$NSPAWN" 2>/dev/null; then
        pkill -TERM -x -P "$NSPAWN" systemd-nspawn || true
        local deadline=$((SECONDS + 20))
        while kill -0 "$NSPAWN" 2>/dev/null && ((SECONDS < deadline)); do sleep 0.1; done
        pkill -KILL -x -P "$NSPAWN" systemd-nspawn || true
        wait "$NSPAWN" 2>/dev/null || true
    fi
    [[ -z $MACHINE ]] || ! mountpoint -q "$MACHINE/root" || umount "$MACHINE/root"
}
