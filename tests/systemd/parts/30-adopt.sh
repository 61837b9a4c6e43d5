# The existing key is adopted, proved on a value that ServOS has sealed; the first call starts the daemon.
# shellcheck shell=bash
said=$(inside env SERVOS_MASTER_KEY_FILE=/etc/servos/servos.env servos-keyd init --adopt-legacy --check-legacy /root/rows.txt 2>&1)
says 'the key opens 1 of 1 values' "$said"
says 'systemctl enable --now servos-keyd' "$said"
[[ $(inside stat --format '%U %a' /var/lib/servos-keyd/keyd.redb) == 'servos-keyd 600' ]] || fail 'the store is not the daemon'\''s'
seal_as app >"$SCRATCH/remembered"
[[ $(state ActiveState) == active && $(state SubState) == running ]] || fail 'the call did not start it'
remembered
opened=$(inside bash -c 'servos-keyctl decrypt --key env-vars --allow-legacy --base64 --in /root/rows.txt' | xxd -p)
[[ $opened == "$(inside cat /root/plaintext.hex)" ]] || fail 'the legacy value opened to something else'
