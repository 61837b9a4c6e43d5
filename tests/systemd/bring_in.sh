# What is brought onto a machine: the packages of this commit, programs that the story runs, and a ServOS that exists.
# Must never bring a key that is anybody's: it is that of the vectors.
# Sourced by run, tests/guides/run and tests/runbooks/run.
# shellcheck shell=bash

# shellcheck source=../../packaging/version.sh
source "${BASH_SOURCE[0]%/*}/../../packaging/version.sh"

# build_packages ROOT: the package of the commit, and the next one, which differs by its number alone; unless they are there and newer
# than what they are made of.
build_packages() {
    local root=$1 newest
    (cd "$root" && cargo build --quiet --locked --example restart-client --example inside-service)
    (cd "$root" && cargo build --quiet --release --locked --bins)
    newest=$root/target/packages/servos-keyd_$(next_version "$root")-1_$(dpkg --print-architecture).deb
    if [[ ! -e $newest || -n $(find "$root"/{packaging,docs,README.md,CHANGELOG.md,Cargo.toml} "$(release_of "$root")"/servos-key{d,ctl} \
        -newer "$newest" -print -quit) ]]; then
        rm -rf "$root/target/packages"
        (cd "$root" && packaging/build >/dev/null && packaging/build --deb-version "$(next_version "$root")-1" >/dev/null)
    fi
}

release_of() { echo "${CARGO_TARGET_DIR:-$1/target}/release"; }

# bring_in ROOT MACHINE_ROOT: what the story needs on the machine, beside the packages.
bring_in() {
    local root=$1 machine=$2
    install -d "$machine/root/packages"
    cp "$root/target/packages/servos-keyd_$(crate_version "$root")"-*.deb "$machine/root/packages/this.deb"
    cp "$root/target/packages/servos-keyd_$(next_version "$root")"-*.deb "$machine/root/packages/next.deb"
    next_version "$root" >"$machine/root/packages/next_version"
    install -m 755 "$(release_of "$root")"/../debug/examples/{restart-client,inside-service} "$machine/usr/local/bin/"
    # A ServOS that exists: its key, and values that it has sealed, by another implementation.
    row() {
        python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["rows"][1][sys.argv[2]])' \
            "$root/tests/vectors/legacy.json" "$1"
    }
    install -d "$machine/etc/servos"
    (umask 077 && printf 'SERVOS_MASTER_KEY=%s\n' "$(row master_key)" >"$machine/etc/servos/servos.env")
    row stored >"$machine/root/rows.txt"
    row plaintext >"$machine/root/plaintext.hex"
    chmod 644 "$machine/root/rows.txt"
}
