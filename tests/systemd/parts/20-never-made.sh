# A store that was never made: `init` is named.
# shellcheck shell=bash
failing_starts 66 'servos-keyd init'
