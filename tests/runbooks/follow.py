"""Follows one page of docs/runbooks.md at a terminal: its commands as they stand there, in one shell, and no others.

Must never answer a question that the scene does not know, nor go on behind a command that failed.
Called by machine.sh: follow.py PAGE TITLE ANSWERS. ANSWERS is a list of [question, answers...]: at each question, a regular
expression for the end of what is seen, the next of its answers is typed.
"""

import json
import os
import pathlib
import pty
import re
import signal
import sys

import typed_shares

BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PATIENCE_SECONDS = 180

# Not the first shares of a kit, and not in order.
typed_from = [0, 2]


def main():
    page, title, answers = sys.argv[1:]
    parts = [part for part in pathlib.Path(page).read_text().split("\n## ") if part.startswith(title + "\n")]
    if len(parts) != 1:
        sys.exit(f"{page}: {len(parts)} pages are called {title}")
    blocks = BLOCK.findall(parts[0])
    if not blocks:
        sys.exit(f"{page}, {title}: there is nothing to type")
    script = pathlib.Path(answers).with_name("page.sh")
    script.write_text("set -e -o pipefail\nset -v\n" + "".join(blocks))
    known = [(re.compile(question.encode()), list(words)) for question, *words in json.loads(pathlib.Path(answers).read_text())]
    sys.exit(type_at_a_terminal(["bash", "--norc", str(script)], known))


def type_at_a_terminal(command, known):
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


def typed(word):
    """A share off the kit that the page itself had made, where that is asked for."""
    if word != "@kit":
        return word
    files = sorted(pathlib.Path("/root/kit").glob("*.txt"))
    return " ".join(typed_shares.words(files[typed_from.pop()]))


def read(terminal):
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


if __name__ == "__main__":
    main()
