# A store that was never made: `init` is named.
# shellcheck shell=bash
# shellcheck disable=SC2016  # a command as the daemon says it
failing_starts 66 'make one with `servos-keyd init`'
