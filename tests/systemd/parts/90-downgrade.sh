# The older package, put over the newer one: it serves the same store.
# shellcheck shell=bash
says '99.0.0' "$(inside dpkg-query --show servos-keyd)"
inside dpkg -i /root/packages/servos-keyd_0*.deb >/dev/null 2>&1
remembered
