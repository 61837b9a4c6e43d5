# What tests/containers/run looks at, one function for each thing that must be so.
# Must never pass for a container that was not there to be looked at.
# Sourced by run, behind engine.sh.
# shellcheck shell=bash
# shellcheck disable=SC2154  # room, root, here, IMAGE, DAEMON, KEY and ADMIN are run's

checks=0
followed=()

fail() { echo "$1"; exit 1; }
ok() { checks=$((checks + 1)); printf 'ok    %s\n' "$1"; }

# page TITLE: types every command of that section of docs/containers.md, in one shell.
page() {
    local commands
    commands=$(section "$1")
    [[ -n $commands ]] || fail "docs/containers.md has no commands under \"$1\""
    # Where a checkout was built is not where the release must be.
    commands=${commands//target\/release/$SERVOS_KEYD_BIN_DIR}
    bash --norc -e -o pipefail -c "$commands" >"$room/said" 2>&1 </dev/null || fail "docs/containers.md, \"$1\": ended with $?"
    followed+=("$1")
    ok "docs/containers.md, \"$1\""
}

section() {
    awk -v title="## $1" '/^## / {inside = $0 == title} /^```$/ {code = 0} inside && code {print} /^```sh$/ {code = 1}' \
        "$root/docs/containers.md"
}

every_section_was_followed() {
    local title
    while read -r title; do
        [[ -z $(section "$title") || " ${followed[*]/#/|} " == *"|$title"* ]] || fail "nobody followed \"$title\""
    done < <(sed -n 's/^## //p' "$root/docs/containers.md")
    [[ $(grep -c '^```sh$' "$root/docs/containers.md") -ge ${#followed[@]} ]] || fail "fewer blocks than sections"
}

compose() { (cd /srv/servos && podman-compose --profile client "$@"); }

# What is mounted and set for the next containers, and how they are run.
more=()
mode=(--rm)

# restricted NAME ARGUMENT...: a container with the restrictions of the compose file, in the foreground.
restricted() {
    podman run "${mode[@]}" --name "$1" --network none --read-only --read-only-tmpfs=false --cap-drop all \
        --security-opt no-new-privileges "${more[@]}" "$IMAGE" "${@:2}"
}

# plain NAME ARGUMENT...: the same, with volumes NAME-socket and so on, as the compose file has them.
plain() {
    local before=("${more[@]}") ended=0
    more=(-v "$1-socket:/run/servos" -v "$1-state:/var/lib/servos-keyd" -v "$1-backup:/var/lib/servos/keyd-backup"
        --tmpfs /run/servos-keyd -e SERVOS_MASTER_KEY_FILE=/run/secrets/servos_master_key
        --ulimit memlock=8388608:8388608 "${before[@]}")
    restricted "$@" || ended=$?
    more=("${before[@]}")
    return "$ended"
}

# refused CODE WORDS COMMAND...: it ends with the code, and says the words.
refused() {
    local code=$1 words=$2 ended=0
    shift 2
    "$@" >"$room/said" 2>&1 </dev/null || ended=$?
    ((ended == code)) || fail "$* ended with $ended instead of $code"
    grep -qF -- "$words" "$room/said" || fail "$* did not say \"$words\""
    ok "$code and \"$words\": $*"
}

serves() {
    local deadline=$((SECONDS + 30))
    until podman exec "$1" servos-keyctl health "${@:2}" >"$room/said" 2>&1; do
        ((SECONDS < deadline)) || { podman logs "$1" >>"$room/said" 2>&1; fail "$1 does not serve"; }
        sleep 0.1
    done
}

volume_of() { podman volume inspect --format '{{.Mountpoint}}' "$1"; }

opens_sealed_value() {
    local opened
    opened=$(compose run --rm -T client decrypt --key default --context table=demo --base64 </srv/servos/sealed.txt 2>"$room/said")
    [[ $opened == s3cret ]] || fail "what was sealed before opens as \"$opened\""
    ok "what was sealed before opens"
}

# The list is the whole image: a shell, a set-user-id file or a library more would be in it.
image_holds_nothing_else() {
    local mounted expected
    mounted=$(podman image mount "$IMAGE")
    (cd "$mounted" && find . -type f -printf '%m %U:%G %P\n') | grep -v ' \(usr/\)\?lib' | sort >"$room/said"
    expected='644 0:0 etc/group
644 0:0 etc/nsswitch.conf
644 0:0 etc/passwd
644 0:0 etc/servos/keyd.toml
755 0:0 usr/bin/servos-keyctl
755 0:0 usr/bin/servos-keyd'
    [[ $(cat "$room/said") == "$expected" ]] || fail "the image does not hold what it should"
    (cd "$mounted" && find . -type f -path '*lib*' -printf '%f\n') | sort >"$room/said"
    [[ $(grep -cvE '^(ld-linux.*|libc|libm|libgcc_s)\.so\.[0-9]+$' "$room/said") == 0 ]] || fail "the image has another library"
    (cd "$mounted" && find . -type d -uid 61000 -printf '%m %G %P\n') | sort -k 3 >"$room/said"
    expected='750 61000 run/servos
700 61000 var/lib/servos/keyd-backup
700 61000 var/lib/servos-keyd'
    [[ $(sort "$room/said") == "$(sort <<<"$expected")" ]] || fail "the daemon's directories are not what they should be"
    [[ $(stat -c '%a %u' "$mounted/run/servos-keyd") == '1777 0' ]] || fail "docker's tmpfs would be closed to the daemon"
    [[ -z $(find "$mounted" -perm /6000) ]] || fail "the image has a set-user-id file"
    [[ $(podman image inspect --format '{{.User}}' "$IMAGE") == 61000:61000 ]] || fail "the image names another user"
    podman image unmount "$IMAGE" >/dev/null
    ok "the image holds two programs, their libraries and four files"
}

restrictions_are_in_force() {
    local pid fact
    pid=$(podman inspect --format '{{.State.Pid}}' "$DAEMON")
    tr '\t' ' ' <"/proc/$pid/status" >"$room/said"
    for fact in 'Uid: 61000 61000 61000 61000' 'Gid: 61000 61000 61000 61000' 'NoNewPrivs: 1' 'Seccomp: 2' \
        'CapInh: 0000000000000000' 'CapPrm: 0000000000000000' 'CapEff: 0000000000000000' 'CapBnd: 0000000000000000' \
        'CapAmb: 0000000000000000'; do
        grep -qx "$fact" "$room/said" || fail "the daemon runs without \"$fact\""
    done
    # The engine's filter, and the daemon's own two.
    [[ $(awk '/^Seccomp_filters/ {print $2}' "$room/said") -ge 2 ]] || fail "the daemon has no filter but one"
    [[ $(podman inspect --format '{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.NetworkMode}}' "$DAEMON") == 'true none' ]] ||
        fail "inspect shows a root that can be written, or a network"
    grep -qE '^Max core file size +0 +0 ' "/proc/$pid/limits" || fail "cores are allowed"
    [[ $(ls "/proc/$pid/root/sys/class/net" 2>/dev/null || echo lo) == lo ]] || fail "the daemon has a network"
    refused 73 "Read-only file system" podman exec "$DAEMON" servos-keyctl generate-key /etc/servos/key
    refused 73 "Read-only file system" podman exec "$DAEMON" servos-keyctl generate-key /var/lib/key
    ok "no capability, no new privileges, a filter, the user 61000, a read-only root"
}

# What the engine's default profile lets through: as much as no profile at all.
memory_is_as_without_a_profile() {
    local without
    protected=$(podman logs "$DAEMON" 2>&1 | grep -oE "$PROTECTED")
    more=(--security-opt seccomp=unconfined -v "$KEY:/run/secrets/servos_master_key:ro")
    plain open init >/dev/null 2>&1
    started plain open
    without=$(podman logs open 2>&1 | grep -oE "$PROTECTED")
    podman stop open >/dev/null
    [[ -n $protected && $protected == "$without" ]] || fail "the default profile gives $protected, none gives $without"
    ok "the default profile gives what the kernel has: ${protected//$'\n'/, }"
}
readonly PROTECTED='event="memory.protected" by="[a-z_]+"|landlock="[a-z]+"'
protected=

# started HOW NAME [ARGUMENT...]: restricted or plain in the background, once the arguments say that it serves.
started() {
    local mode=(--detach --replace)
    "$1" "$2" serve >"$room/said" 2>&1 || fail "$2 does not start"
    serves "${@:2}"
}

only_the_component_socket_is_on_the_volume() {
    local found
    found=$(find "$(volume_of servos_keyd-socket)" -printf '%m %U:%G %y %P\n' | sort)
    [[ $found == $'660 61000:61000 s keyd.sock\n750 61000:61000 d ' ]] || fail "on the volume of the socket: $found"
    ok "the admin socket is on no volume"
}

ended_well_before_its_restart() {
    podman logs "$DAEMON" >"$room/said" 2>&1
    grep -q 'daemon.stopped.* calls_cut=0' "$room/said" || fail "the daemon did not end by itself"
    compose stop keyd >/dev/null 2>&1
    [[ $(podman inspect --format '{{.State.ExitCode}}' "$DAEMON") == 0 ]] || fail "a stop did not end with 0"
    compose start keyd >/dev/null 2>&1
    serves "$DAEMON"
    ok "a stop ends with 0"
}

wrong_key_is_refused_and_nothing_written() {
    local before
    compose stop keyd >/dev/null 2>&1
    before=$(cat "$(volume_of servos_keyd-state)"/* | sha256sum)
    "$SERVOS_KEYD_BIN_DIR/servos-keyctl" generate-key "$room/other" >/dev/null 2>&1
    chown 61000:61000 "$room/other"
    more=(-v "$room/other:/run/secrets/servos_master_key:ro")
    refused 78 "MASTER KEY INTEGRITY CHECK FAILED" plain servos_keyd serve
    chown 0:0 "$room/other"
    refused 77 "servos_master_key" plain servos_keyd serve
    more=()
    [[ $(cat "$(volume_of servos_keyd-state)"/* | sha256sum) == "$before" ]] || fail "a wrong key changed the store"
    ok "a wrong key changes nothing in the store"
}

# Of the two volumes, the one with the store is gone: what is left of backups keeps anything from beginning anew.
lost_store_is_not_made_anew() {
    more=(-v "$KEY:/run/secrets/servos_master_key:ro")
    cp -a "$(volume_of servos_keyd-backup)"/. "$(podman volume create lost-backup >/dev/null && volume_of lost-backup)"
    refused 66 "restore" plain lost serve
    refused 73 "restore" plain lost init
    [[ -z $(find "$(volume_of lost-state)" -name '*.redb*') ]] || fail "a store was made where one was lost"
    more=()
}

# A profile of the days before memfd_secret and Landlock.
old_profile_is_told() {
    python3 - /usr/share/containers/seccomp.json "$room/old.json" <<'PY'
import json, sys
profile = json.load(open(sys.argv[1]))
for rule in profile["syscalls"]:
    rule["names"] = [name for name in rule["names"] if name != "memfd_secret" and not name.startswith("landlock_")]
profile["syscalls"] = [rule for rule in profile["syscalls"] if rule["names"]]
json.dump(profile, open(sys.argv[2], "w"))
PY
    more=(--security-opt "seccomp=$room/old.json" -v "$KEY:/run/secrets/servos_master_key:ro")
    plain old init >/dev/null 2>&1
    started plain old
    podman exec --user 0 --privileged old servos-keyctl --socket "$ADMIN" status >"$room/said"
    grep -qF 'The kernel refuses memfd_secret' "$room/said" || fail "status does not tell that memfd_secret is missing"
    grep -qF 'The sandbox is without Landlock' "$room/said" || fail "status does not tell that Landlock is missing"
    podman stop old >/dev/null
    printf '[memory]\nrequire_memfd_secret = true\n' >"$room/strict.toml"
    more+=(-v "$room/strict.toml:/etc/servos/keyd.toml:ro")
    refused 71 "memfd_secret" plain strict serve
    more=()
    ok "an old profile is told in status"
}

too_little_locked_memory_is_told() {
    more=(--ulimit memlock=0:0 -v "$KEY:/run/secrets/servos_master_key:ro")
    refused 78 "memlock" plain little serve
    more=()
}

# 65534 is everybody whom the daemon's user namespace does not know.
another_user_namespace_is_denied() {
    local map=(--uidmap 0:200000:65536 --gidmap 0:200000:65536) socket
    install -m 400 -o 261000 -g 261000 "$KEY" "$room/mapped"
    chmod 711 "$room"
    more=("${map[@]}" -v "$room/mapped:/run/secrets/servos_master_key:ro")
    plain mapped init >"$room/said" 2>&1 || fail "init fails in a user namespace"
    started plain mapped
    ok "a daemon in a user namespace of its own serves"
    socket=$(volume_of mapped-socket)/keyd.sock
    refused 77 "did not tell who is calling" "$SERVOS_KEYD_BIN_DIR/servos-keyctl" --socket "$socket" whoami
    podman run --rm "${map[@]}" --network none --user 1000:1000 --group-add 61000 -v mapped-socket:/run/servos:ro \
        --entrypoint servos-keyctl "$IMAGE" whoami >"$room/said" 2>&1 || fail "a component with the same mapping is refused"
    grep -q '^user id *1000$' "$room/said" || fail "it is taken for another user"
    podman stop mapped >/dev/null
    more=()
    ok "a component with the same mapping is known, and one without is denied"
}
