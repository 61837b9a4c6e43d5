# The version that is built, and one that is newer, for tests of upgrades. Must never be written down elsewhere.
# To be sourced, by packaging/build and by tests.
# shellcheck shell=bash

# crate_version ROOT: that of Cargo.toml.
crate_version() {
    sed -n 's/^version = "\(.*\)"$/\1/p' "$1/Cargo.toml" | head -n 1
}

# next_version ROOT: of the release after it.
next_version() {
    local version
    version=$(crate_version "$1")
    echo "$((${version%%.*} + 1)).0.0"
}
