# A container engine of the test's own: podman whose storage, state and configuration lie in one new directory.
# Must never touch an image, container or volume of the machine.
# Sourced by run, within a mount namespace; $room is its directory.
# shellcheck shell=bash
# shellcheck disable=SC2154  # room, here and root are run's

# own_engine: what podman, buildah and podman-compose use from here on.
own_engine() {
    # Where engines keep state whatever they are told, and where docs/containers.md has its files.
    local place
    for place in /run /srv /var/lib; do mount -t tmpfs tmpfs "$place"; done
    # crun refuses machines that have both versions of cgroups with controllers in each.
    if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
    cat >"$room/storage.conf" <<TOML
[storage]
driver = "vfs"
graphroot = "$room/storage"
runroot = "/run/containers"
TOML
    cat >"$room/containers.conf" <<TOML
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "crun-within"
[engine.runtimes]
crun-within = ["$here/crun-within"]
TOML
    export CONTAINERS_STORAGE_CONF=$room/storage.conf CONTAINERS_CONF=$room/containers.conf TMPDIR=$room
    # Health checks are asked for by the test: its machine may have no systemd to do it.
    export DISABLE_HC_SYSTEMD=true
}

# compose_tools: podman-compose and what checks files against schemas, in the versions that are written here, onto PATH.
compose_tools() {
    local tools=$root/.tools/containers
    local versions=(podman-compose==1.6.0 check-jsonschema==0.39.0 kubernetes-validate==1.37.0)
    install_venv "$tools" "${versions[@]}"
    PATH=$tools/bin:$PATH
}
