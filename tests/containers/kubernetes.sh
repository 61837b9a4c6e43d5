# The compose file and the manifests against their schemas, and the daemon on volumes as a kubelet makes them.
# Must never pass for a schema that takes everything, nor write to a directory of the machine's own.
# Sourced by run, behind checks.sh.
# shellcheck shell=bash
# shellcheck disable=SC2154  # room, root, here, IMAGE, KEY and ADMIN are run's

files_fit_their_schemas() {
    local version
    check-jsonschema --builtin-schema vendor.compose-spec packaging/compose/compose.yaml >"$room/said" 2>&1 ||
        fail "compose.yaml does not fit its schema"
    for version in 1.29 1.33 1.37; do
        kubernetes-validate --kubernetes-version "$version" --strict packaging/kubernetes/*.yaml >"$room/said" 2>&1 ||
            fail "a manifest does not fit the schema of Kubernetes $version"
        ok "$(grep -c passed "$room/said") objects fit the schemas of Kubernetes $version"
    done
    # A schema that lets everything pass proves nothing.
    sed 's/readOnlyRootFilesystem/readOnlyRoot/' packaging/kubernetes/sidecar.yaml >"$room/wrong.yaml"
    ! kubernetes-validate --kubernetes-version 1.37 --strict "$room/wrong.yaml" >"$room/said" 2>&1 || fail "any field fits"
    python3 "$here/manifests.py" packaging/kubernetes/*.yaml || fail "a manifest lacks a restriction"
    ok "every container of the manifests has every restriction"
}

node_directories_are_as_the_image_has_them() {
    local found
    found=$(stat -c '%a %u:%g' /run/servos /var/lib/servos-keyd /var/lib/servos/keyd-backup | tr '\n' ' ')
    [[ $found == '750 61000:61000 700 61000:61000 700 61000:61000 ' ]] || fail "the node's directories are $found"
    more=(-v /run/servos:/run/servos -v /var/lib/servos-keyd:/var/lib/servos-keyd
        -v /var/lib/servos/keyd-backup:/var/lib/servos/keyd-backup -v "$(secret_volume):/run/secrets/servos:ro"
        -e SERVOS_MASTER_KEY_FILE=/run/secrets/servos/servos_master_key)
    restricted node init >"$room/said" 2>&1 || fail "init fails on the node's directories"
    more+=(--tmpfs /run/servos-keyd)
    started restricted node
    podman run --rm --network none --user 1000:1000 --group-add 61000 -v /run/servos:/run/servos:ro \
        --entrypoint servos-keyctl "$IMAGE" whoami >"$room/said" 2>&1 || fail "another pod does not reach the daemon"
    podman stop node >/dev/null
    more=()
    ok "the hostPath variant serves, and another pod reaches it"
}

# secret_volume: a Secret as a kubelet mounts it for fsGroup 61000: on a tmpfs, links to root's files of mode 0440.
secret_volume() {
    local place=$room/secret
    if [[ ! -d $place ]]; then
        install -d "$place"
        mount -t tmpfs tmpfs "$place"
        install -d -m 755 "$place/..1"
        install -m 440 -o 0 -g 61000 "$KEY" "$place/..1/servos_master_key"
        ln -s ..1 "$place/..data"
        ln -s ..data/servos_master_key "$place/servos_master_key"
    fi
    echo "$place"
}

# The volumes of the sidecar's pod as a kubelet makes them for fsGroup 61000: root's, of that group, open to it or to all.
kubelets_volumes_serve() {
    local name
    for name in socket admin; do install -d -m 2777 -o 0 -g 61000 "$room/pod/$name"; done
    install -d -m 2775 -o 0 -g 61000 "$room/pod/state"
    install -d "$room/pod/config"
    chmod 711 "$room" "$room/pod"
    python3 "$here/manifests.py" --configuration packaging/kubernetes/store.yaml >"$room/pod/config/keyd.toml"
    more=(-v "$room/pod/config:/etc/servos:ro" -v "$room/pod/state:/var/lib/servos-keyd" -v "$(secret_volume):/run/secrets/servos:ro"
        -e SERVOS_MASTER_KEY_FILE=/run/secrets/servos/servos_master_key)
    restricted pod init >"$room/said" 2>&1 || fail "init fails on a kubelet's volumes"
    refused 73 "never overwritten" restricted pod init
    more+=(-v "$room/pod/socket:/run/servos" -v "$room/pod/admin:/run/servos-keyd")
    started restricted pod --socket /run/servos/keyd/keyd.sock
    podman run --rm --network none --user 1000:1000 --group-add 61000 -v "$room/pod/socket/keyd:/run/servos:ro" \
        --entrypoint servos-keyctl "$IMAGE" whoami >"$room/said" 2>&1 || fail "the component does not reach the daemon"
    podman exec --user 0 --privileged pod servos-keyctl --socket "$ADMIN" status >"$room/said"
    [[ $(grep '^  - ' "$room/said") == *'servos_master_key: others can read it (mode 0440)'*'in memory' ]] ||
        fail "status in a pod says other things than docs/containers.md"
    podman stop pod >/dev/null
    more=()
    ok "the sidecar variant serves on a kubelet's volumes"
}
