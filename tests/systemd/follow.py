"""Types what a page says at a terminal of a machine: its commands as they stand there, in one shell, and no others.

Must never answer a question that is not known, nor go on behind a command that failed.
Used by tests/guides/follow.py and tests/runbooks/follow.py.
"""

import os
import pathlib
import pty
import re
import signal
import sys

BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PATIENCE_SECONDS = 180


def write_script(script, blocks):
    """What the shell of the machine reads: everything is shown as it is typed, and it ends where a command fails."""
    pathlib.Path(script).write_text("set -e -o pipefail\nset -v\n" + "".join(blocks))


def type_at_a_terminal(command, known, typed=lambda word: word):
    """The command's exit code. At each question that is known, a regular expression for the end of what is seen, the next of its words."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvp(command[0], command)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.alarm(PATIENCE_SECONDS)
    unanswered = b""
    while seen := read(terminal):
        sys.stdout.buffer.write(seen)
        sys.stdout.flush()
        unanswered = (unanswered + seen)[-4096:]
        for question, words in known:
            if words and question.search(unanswered):
                os.write(terminal, typed(words.pop(0)).encode() + b"\n")
                unanswered = b""
                break
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == 0 and any(words for _, words in known):
        print("\nnot everything that was to be typed was asked for")
        return 1
    return code


def read(terminal):
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
