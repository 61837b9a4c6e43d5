# The machine is booted anew: the sockets are there, and the first call is answered.
# shellcheck shell=bash
gone() { ! kill -0 "$LEADER" 2>/dev/null; }
inside systemctl reboot
eventually 'the machine goes down' gone
await_boot
sockets_are_alive
figure "first call after a boot: $(inside_as app restart-client "$SOCKET" once) ms"
remembered
