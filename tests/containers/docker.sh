# The same image under Docker's own engine, which mounts, filters and stops in its own way: Debian's packages of it, unpacked
# under .tools and not installed, its daemon on a socket and in a directory of the test's.
# Must never speak to a docker daemon of the machine's own.
# Sourced by run, behind checks.sh.
# shellcheck shell=bash
# shellcheck disable=SC2154  # room, root, IMAGE, KEY and ADMIN are run's

dockerd_pid=
docker_is_here=false

# unpack_docker: to be called while apt-get finds its lists, before own_engine.
unpack_docker() {
    local tools=$root/.tools/docker package
    if [[ ! -e $tools/unpacked ]]; then
        rm -rf "$tools"
        mkdir -p "$tools/bin"
        (cd "$tools" && apt-get -qq download docker.io containerd runc 2>/dev/null) || return 1
        for package in "$tools"/*.deb; do dpkg-deb --extract "$package" "$tools/root"; done
        find "$tools/root" -type f -path '*/*bin/*' -exec ln -s {} "$tools/bin/" \;
        rm "$tools"/*.deb
        touch "$tools/unpacked"
    fi
    PATH=$tools/bin:$PATH
    docker_is_here=true
}

docker_serves() {
    local volumes restrictions pid
    if [[ $docker_is_here == false ]]; then
        echo "NOT RUN: it takes Debian's packages docker.io, containerd and runc."
        not_checked "the image under Docker" || fail "this must run where CI=true"
        return
    fi
    # It keeps a key of its own there.
    mkdir "$room/etc" "$room/work"
    mount -t overlay -o "lowerdir=/etc,upperdir=$room/etc,workdir=$room/work" overlay /etc
    export DOCKER_HOST=unix://$room/docker.sock DOCKER_CONFIG=$room
    dockerd --iptables=false --ip6tables=false --bridge=none --storage-driver=vfs --data-root "$room/docker" \
        --exec-root /run/docker --pidfile /run/docker.pid --host "$DOCKER_HOST" >"$room/dockerd.log" 2>&1 &
    dockerd_pid=$!
    until docker info >"$room/said" 2>&1; do
        kill -0 "$dockerd_pid" || fail "dockerd ended: $(tail -n 5 "$room/dockerd.log")"
        sleep 0.1
    done
    SERVOS_KEYD_BUILDER=docker packaging/container/build >"$room/said" 2>&1 || fail "docker does not build the image"
    volumes=(-v socket:/run/servos -v state:/var/lib/servos-keyd -v backup:/var/lib/servos/keyd-backup --tmpfs /run/servos-keyd)
    restrictions=(--network none --read-only --cap-drop ALL --security-opt no-new-privileges --ulimit memlock=8388608
        --ulimit nofile=4096 --ulimit core=0 --pids-limit 128 -v "$KEY:/run/secrets/servos_master_key:ro"
        -e SERVOS_MASTER_KEY_FILE=/run/secrets/servos_master_key)
    docker run --rm "${volumes[@]}" "${restrictions[@]}" "$IMAGE" init >"$room/said" 2>&1 || fail "init fails under docker"
    docker run --detach --name keyd "${volumes[@]}" "${restrictions[@]}" "$IMAGE" >"$room/said" 2>&1 || fail "docker starts nothing"
    until docker exec keyd servos-keyctl health >"$room/said" 2>&1; do
        [[ $(docker inspect --format '{{.State.Running}}' keyd) == true ]] || { docker logs keyd; fail "the daemon ended under docker"; }
        sleep 0.1
    done
    docker logs keyd >"$room/said" 2>&1
    [[ $(grep -oE "$PROTECTED" "$room/said") == "$protected" ]] || fail "docker's default profile gives less than $protected"
    docker run --rm --network none --user 1000:1000 --group-add 61000 -v socket:/run/servos:ro --entrypoint servos-keyctl "$IMAGE" \
        whoami >"$room/said" 2>&1 || fail "a component does not reach the daemon under docker"
    pid=$(docker inspect --format '{{.State.Pid}}' keyd)
    "$SERVOS_KEYD_BIN_DIR/servos-keyctl" --socket "/proc/$pid/root$ADMIN" status >"$room/said" 2>&1 ||
        fail "root on the host does not administer"
    docker stop keyd >/dev/null
    [[ $(docker inspect --format '{{.State.ExitCode}}' keyd) == 0 ]] || fail "a stop under docker did not end with 0"
    stop_docker
    ok "the same under $(dockerd --version)"
}

stop_docker() {
    [[ -n $dockerd_pid ]] || return 0
    kill "$dockerd_pid" 2>/dev/null || true
    wait "$dockerd_pid" 2>/dev/null || true
    dockerd_pid=
}
