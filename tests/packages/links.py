"""Follows every link of the packaged documents: to a file of the package, and to a heading that is there.

    links.py ROOT       the package's files, unpacked there

Must never pass because it found no links, nor follow one out of the package. Called by run.
"""

import pathlib
import re
import sys

LINK = re.compile(r"\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
# What lies in a checkout alone.
ELSEWHERE = re.compile(r"(?<![\w/.-])packaging/(?!build\b)[a-z]|^target/release/servos-keyctl\b")


def prose(text):
    return BLOCK.sub("", text)


def anchors(text):
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    wrong, followed = [], 0
    for document in sorted((root / "usr/share/doc/servos-keyd").rglob("*.md")):
        text = document.read_text()
        for target in LINK.findall(prose(text)):
            if re.match(r"https?://", target):
                continue
            path, _, anchor = target.partition("#")
            file = (document.parent / path).resolve() if path else document
            followed += 1
            if not file.exists() or not file.is_relative_to(root):
                wrong.append(f"{document.name}: nothing is at {target}")
            elif anchor and anchor not in anchors(file.read_text()):
                wrong.append(f"{document.name}: no heading for {target}")
        wrong += [f"{document.name}: {line}" for line in text.splitlines() if ELSEWHERE.search(line)]
    print("\n".join(wrong) or f"{followed} links")
    sys.exit(bool(wrong) or followed < 100)


main()
