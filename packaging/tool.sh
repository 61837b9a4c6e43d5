# Installs a tool that is written in Rust. To be sourced in the package's directory, by .ci/run and by packaging/build.
# shellcheck shell=bash

readonly CARGO_DEB=3.8.0
readonly CARGO_GENERATE_RPM=0.21.1

# install_packers: what makes the .deb and the .rpm.
install_packers() {
    install_tool cargo-deb "$CARGO_DEB"
    install_tool cargo-generate-rpm "$CARGO_GENERATE_RPM"
}

# install_tool NAME VERSION: from crates.io into .tools, unless that version is there. Unoptimised: it builds in half
# the time, and runs for seconds. Some print their name before their version, some do not.
install_tool() {
    local name=$1 version=$2
    [[ " $(".tools/bin/$name" --version 2>/dev/null || true)" != *" $version" ]] || return 0
    echo "installing $name $version"
    CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR=.tools/target \
        cargo install --quiet --locked --debug --force --root .tools --version "$version" "$name"
}
