"""Takes the examples out of a section of a page under docs: the programs, the commands, and what these print.

Must never leave out a block that it does not understand.
Called by tests/clients/examples: blocks.py PAGE SECTION WORK OUT. A block with a name is a file of WORK, `sh` blocks are
OUT/NN.sh in order, and the `text` block after one is its output, OUT/NN.wanted. Only the first commands of several, which
install, go without, and those of a walk, whose outputs are another each time. A block that bears `not-run` is left out.
And: blocks.py --all PAGE SECTION... fails if a block of the page is in none of these sections and does not say that it is not
run.
"""

import pathlib
import re
import sys

BLOCK = re.compile(r"^```(\S*)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)

NOT_RUN = "not-run"

# What a component's author must find in each program.
RPCS = ("Encrypt", "Decrypt", "ReEncrypt", "VerifyCanary", "primary", "base64")
SETTINGS = ("grpc.default_authority", "retryPolicy")
SHOWN = {
    "Rust": ("encrypt", "decrypt", "reencrypt", "verify_canary", "primary", "to_base64"),
    "Python": RPCS + SETTINGS,
    "Node": RPCS + SETTINGS,
    "Database columns and contexts": (*RPCS, "IssueCanary", "ExportKeyring", "Relabel", "allow_legacy", "BEGIN IMMEDIATE"),
}

# Sections whose blocks are what an operator types, one after the other, and answers questions of.
WALKS = ("With a key file", "With an env file")


def main():
    if sys.argv[1] == "--all":
        sys.exit(none_is_forgotten(sys.argv[2], sys.argv[3:]))
    page, section, work, out = sys.argv[1:]
    found = sections(page)
    if section not in found:
        sys.exit(f"{page}: no section is called {section}")
    commands, wanted, files = sorted_out(f"{page}, {section}", found[section])
    if section in WALKS:
        if not commands or wanted or files:
            sys.exit(f"{page}, {section}: a walk is blocks of commands and nothing else")
        (pathlib.Path(out) / "walk.sh").write_text("".join(commands))
        return
    if complaint := incomplete(section, commands, wanted, files):
        sys.exit(f"{page}, {section}: {complaint}")
    for name, body in files.items():
        file = pathlib.Path(work) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(body)
    for number, command in enumerate(commands, 1):
        (pathlib.Path(out) / f"{number:02}.sh").write_text(command)
        if number in wanted:
            (pathlib.Path(out) / f"{number:02}.wanted").write_text(wanted[number])


def sections(page):
    """Each section of the page by its name, and what stands before the first."""
    before, *parts = pathlib.Path(page).read_text().split("\n## ")
    found = {"": before}
    for part in parts:
        name, _, body = part.partition("\n")
        if name in found:
            sys.exit(f"{page}: two sections are called {name}")
        found[name] = body
    return found


def sorted_out(place, text):
    commands, wanted, files = [], {}, {}
    last = None
    for language, name, body in BLOCK.findall(text):
        if name == NOT_RUN:
            continue
        if name:
            files[name] = body
        elif language == "sh":
            commands.append(body)
        elif language == "text" and last == "sh":
            wanted[len(commands)] = body
        else:
            sys.exit(f"{place}: what is a block of {language or 'no language'} without a name, after {last}?")
        last = None if name else language
    if 2 * len(BLOCK.findall(text)) != len(re.findall(r"^ *```", text, re.MULTILINE)):
        sys.exit(f"{place}: a block is indented, or not closed")
    return commands, wanted, files


def incomplete(section, commands, wanted, files):
    if missing := {*range(1, len(commands) + 1)} - {*wanted} - ({1} if len(commands) > 1 else set()):
        return f"no output beside the commands number {missing}"
    if not wanted:
        return "no commands with their output"
    program = "".join(files.values())
    if missing := [word for word in SHOWN.get(section, ()) if not re.search(rf"\b{re.escape(word)}\b", program)]:
        return f"the program does not show {missing}"
    for name in files:
        imported = f"from {pathlib.Path(name).stem} import" in program
        used = imported or any(name.split("/")[0] in command for command in commands)
        if not used:
            return f"nothing runs {name}"
    return None


def none_is_forgotten(page, played):
    found = sections(page)
    if missing := {*played} - {*found}:
        return f"{page}: there are no sections {missing}"
    for section, text in found.items():
        marked = len(re.findall(rf"^ *```\S+ {NOT_RUN}$", text, re.MULTILINE))
        blocks = len(re.findall(r"^ *```", text, re.MULTILINE)) // 2
        if section not in played and blocks != marked:
            return f"{page}: nobody runs a block of {section or 'its beginning'}, and it does not say {NOT_RUN}"
    return None


if __name__ == "__main__":
    main()
