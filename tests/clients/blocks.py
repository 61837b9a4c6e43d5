"""Takes the examples out of a section of a page under docs: the programs, the commands, and what these print.

Must never leave out a block that it does not understand.
Called by tests/clients/examples: blocks.py PAGE SECTION WORK OUT. A block with a name is a file of WORK, `sh` blocks are
OUT/NN.sh in order, and the `text` block after one is its output, OUT/NN.wanted. Only the first commands of several, which
install, go without, and those of a walk, whose outputs are another each time.
"""

import pathlib
import re
import sys

BLOCK = re.compile(r"^```(\S*)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What a component's author must find in each program.
SHOWN = ("Encrypt", "Decrypt", "ReEncrypt", "VerifyCanary", "primary", "grpc.default_authority", "retryPolicy", "base64")

# Sections whose programs must show all of that.
LANGUAGES = ("Python", "Node")

# Sections whose blocks are what an operator types, one after the other, and answers questions of.
WALKS = ("With a key file", "With an env file")


def main():
    page, section, work, out = sys.argv[1:]
    parts = [part for part in pathlib.Path(page).read_text().split("\n## ") if part.startswith(section + "\n")]
    if len(parts) != 1:
        sys.exit(f"{page}: {len(parts)} sections are called {section}")
    commands, wanted, files = [], {}, {}
    last = None
    for language, name, body in BLOCK.findall(parts[0]):
        if name:
            files[name] = body
        elif language == "sh":
            commands.append(body)
        elif language == "text" and last == "sh":
            wanted[len(commands)] = body
        else:
            sys.exit(f"{page}, {section}: what is a block of {language or 'no language'} without a name, after {last}?")
        last = None if name else language
    if section in WALKS:
        if not commands or wanted or files:
            sys.exit(f"{page}, {section}: a walk is blocks of commands and nothing else")
        (pathlib.Path(out) / "walk.sh").write_text("".join(commands))
        return
    if missing := {*range(1, len(commands) + 1)} - {*wanted} - ({1} if len(commands) > 1 else set()):
        sys.exit(f"{page}, {section}: no output beside the commands number {missing}")
    if not wanted:
        sys.exit(f"{page}, {section}: no commands with their output")
    if section in LANGUAGES:
        program = "".join(files.values())
        if missing := [word for word in SHOWN if not re.search(rf"\b{re.escape(word)}\b", program)]:
            sys.exit(f"{page}, {section}: the program does not show {missing}")
    for name, body in files.items():
        if not any(name in command for command in commands):
            sys.exit(f"{page}, {section}: nothing runs {name}")
        (pathlib.Path(work) / name).write_text(body)
    for number, command in enumerate(commands, 1):
        (pathlib.Path(out) / f"{number:02}.sh").write_text(command)
        if number in wanted:
            (pathlib.Path(out) / f"{number:02}.wanted").write_text(wanted[number])


if __name__ == "__main__":
    main()
