"""Follows docs/operator-guide.md at a terminal of the machine: its commands as they stand there, in one shell, and no others.

Must never leave out a block but those of the other way to begin, nor go on behind a command that failed.
Called by run: follow.py PAGE BEGINNING SCRIPT COMMAND... The commands of the page, without the other beginnings than the section of this
name, go into SCRIPT; COMMAND runs it.
"""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "systemd"))

import follow as terminal  # noqa: E402

BEGINNINGS = "First start, "
# Asked for by `rotate run`: before it begins, and before the new key takes the place of the old one.
KNOWN = [(re.compile(rb"Type yes to go on: $"), ["yes", "yes"])]


def main():
    page, beginning, script, *command = sys.argv[1:]
    text = pathlib.Path(page).read_text()
    sections = text.split("\n## ")
    titles = [section.splitlines()[0] for section in sections[1:]]
    if BEGINNINGS + beginning not in titles:
        sys.exit(f"{page}: no section is called {BEGINNINGS}{beginning}")
    wanted = [s for s in sections[1:] if not s.startswith(BEGINNINGS) or s.startswith(BEGINNINGS + beginning + "\n")]
    blocks = [befalls(section) + block for section in wanted for block in terminal.BLOCK.findall(section)]
    everywhere = len(re.findall(r"^```", text, re.MULTILINE)) // 2
    if everywhere != len(terminal.BLOCK.findall(text)):
        sys.exit(f"{page}: a block is none of commands")
    terminal.write_script(script, blocks)
    print(f"{len(blocks)} blocks")
    sys.exit(terminal.type_at_a_terminal(command, KNOWN))


def befalls(section):
    """What the page speaks of as having happened, which no reader is to do."""
    befallen = {
        "Restore": "systemctl stop 'servos-keyd*' && mv /var/lib/servos-keyd/keyd.redb /root/lost.redb\n",
        "Upgrade": "rm servos-keyd_*.deb && cp packages/next.deb servos-keyd_next.deb\n",
    }
    return befallen.get(section.splitlines()[0], "")


if __name__ == "__main__":
    main()
