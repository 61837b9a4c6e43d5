# Another key, no key file, a damaged store: everyone is answered, nothing is lost, and the first call after the mending works.
# shellcheck shell=bash
inside cp -p /etc/servos/servos.env /root/servos.env
# shellcheck disable=SC2016  # of the shell within
inside bash -c 'umask 077; rm -f /root/other.key; servos-keyctl generate-key /root/other.key >/dev/null 2>&1
    printf "SERVOS_MASTER_KEY=%s\n" "$(cat /root/other.key)" >/etc/servos/servos.env'
failing_starts 78 'MASTER KEY INTEGRITY CHECK FAILED'
inside cp -p /root/servos.env /etc/servos/servos.env
remembered

inside mv /etc/servos/servos.env /root/gone
failing_starts 66 'systemd found no such file when it started the unit'
inside mv /root/gone /etc/servos/servos.env
remembered

inside systemctl stop servos-keyd.service
inside cp -p /var/lib/servos-keyd/keyd.redb /root/keyd.redb
inside bash -c 'head -c 4096 /dev/zero | dd of=/var/lib/servos-keyd/keyd.redb bs=4096 seek=1 conv=notrunc status=none'
failing_starts 74 'damaged'
inside cp -p /root/keyd.redb /var/lib/servos-keyd/keyd.redb
remembered
