"""Runs commands at a terminal of their own, and types yes wherever they ask for it.

Must never answer a question that it does not know.
Called by tests/clients/examples: typed.py COMMAND... What is seen at the terminal goes to standard output.
"""

import os
import pty
import signal
import sys

QUESTION = b"Type yes to go on: "

# A question that is not known is waited at for ever.
PATIENCE_SECONDS = 120


def main():
    child, terminal = pty.fork()
    if child == 0:
        os.execvp(sys.argv[1], sys.argv[1:])
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.alarm(PATIENCE_SECONDS)
    unanswered = b""
    # The end of the terminal is an error where its last user ended.
    while seen := read(terminal):
        sys.stdout.buffer.write(seen)
        unanswered += seen
        if unanswered.endswith(QUESTION):
            os.write(terminal, b"yes\n")
            unanswered = b""
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def read(terminal):
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


if __name__ == "__main__":
    main()
