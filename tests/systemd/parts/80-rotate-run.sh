# One command rotates the master key, restarts the unit by systemctl, and everything opens.
# shellcheck shell=bash
before=$(inside servos-keyctl --json status | in_json 'it["master_key"]["fingerprint"]')
said=$(inside servos-keyctl rotate run --yes --components-migrated 2>&1) || fail "$said"
after=$(inside servos-keyctl --json status | in_json 'it["master_key"]["fingerprint"]')
[[ $before != "$after" ]] || fail "the key is the same: $said"
remembered
inside systemctl restart servos-keyd.service
remembered
opened=$(inside bash -c 'servos-keyctl decrypt --key env-vars --allow-legacy --base64 --in /root/rows.txt' | xxd -p)
[[ $opened == "$(inside cat /root/plaintext.hex)" ]] || fail 'the legacy value opened to something else'
figure "rotated from $before to $after"
