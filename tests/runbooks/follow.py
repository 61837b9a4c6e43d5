"""Follows one page of docs/runbooks.md at a terminal of the machine that its disaster has befallen.

Called by run: follow.py PAGE TITLE ANSWERS MACHINE_ROOT COMMAND... ANSWERS is a list of [question, answers...]: at each question, a
regular expression for the end of what is seen, the next of its answers is typed. The page's commands go into /root/page.sh of the machine;
COMMAND runs it there.
"""

import json
import pathlib
import re
import sys

import typed_shares

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "systemd"))

import follow as terminal  # noqa: E402

# Not the first shares of a kit, and not in order.
typed_from = [0, 2]


def main():
    page, title, answers, machine, *command = sys.argv[1:]
    parts = [part for part in pathlib.Path(page).read_text().split("\n## ") if part.startswith(title + "\n")]
    if len(parts) != 1:
        sys.exit(f"{page}: {len(parts)} pages are called {title}")
    blocks = terminal.BLOCK.findall(parts[0])
    if not blocks:
        sys.exit(f"{page}, {title}: there is nothing to type")
    root = pathlib.Path(machine, "root")
    terminal.write_script(root / "page.sh", blocks)
    known = [(re.compile(question.encode()), list(words)) for question, *words in json.loads(pathlib.Path(answers).read_text())]
    sys.exit(terminal.type_at_a_terminal(command, known, lambda word: typed(word, root / "kit")))


def typed(word, kit):
    """A share off the kit that the page itself had made, where that is asked for."""
    if word != "@kit":
        return word
    return " ".join(typed_shares.words(sorted(kit.glob("*.txt"))[typed_from.pop()]))


if __name__ == "__main__":
    main()
