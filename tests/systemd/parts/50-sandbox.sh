# What the service is closed to, by systemd's own measure and by what its threads are refused.
# shellcheck shell=bash
said=$(inside systemd-analyze security --offline=yes --threshold=5 /lib/systemd/system/servos-keyd.service 2>&1) ||
    fail "its exposure is more than 0.5: $said"
figure "$(sed -n 's/^→ //p' <<<"$said")"
pid=$(state MainPID)
probed=$(inside inside-service "$pid" probe /var/lib/servos-keyd) || fail "$probed"
figure "$(tail -n 1 <<<"$probed"): execve, socket(AF_INET), ptrace, /etc/shadow, writing elsewhere and more, by each thread"
status=$(inside cat "/proc/$pid/status")
for expected in $'CapEff:\t0000000000000000' $'CapBnd:\t0000000000000000' $'NoNewPrivs:\t1' $'Seccomp:\t2'; do
    says "$expected" "$status"
done
told=$(inside servos-keyctl --json status | in_json '(it["memory_protection"], it["sandbox"]["landlock"], it["sandbox"]["seccomp"])')
figure "memory, Landlock, seccomp: $told"
says "'enforced', 'enforced'" "$told"
