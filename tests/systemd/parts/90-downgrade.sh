# The older package, put over the newer one: it serves the same store.
# shellcheck shell=bash
says "$(<"$MACHINE_ROOT/root/packages/next_version")" "$(inside dpkg-query --show servos-keyd)"
install_package this >/dev/null
remembered
