# The older package, put over the newer one: it serves the same store.
# shellcheck shell=bash
says '99.0.0' "$(inside dpkg-query --show servos-keyd)"
install_package 0 >/dev/null
remembered
