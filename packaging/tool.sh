# Installs a tool that is written in Rust. To be sourced in the package's directory, by .ci/run and by packaging/build.
# shellcheck shell=bash

# install_tool NAME VERSION: from crates.io into .tools, unless that version is there. Unoptimised: it builds in half
# the time, and runs for seconds. Some print their name before their version, some do not.
install_tool() {
    local name=$1 version=$2
    [[ " $(".tools/bin/$name" --version 2>/dev/null || true)" != *" $version" ]] || return 0
    echo "installing $name $version"
    CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR=.tools/target \
        cargo install --quiet --locked --debug --force --root .tools --version "$version" "$name"
}
