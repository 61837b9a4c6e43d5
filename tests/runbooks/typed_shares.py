"""Prints, for follow.py, what somebody types who has two of the shares of a recovery kit on paper.

Must never print a word but those of the shares. Called by the scenes: typed_shares.py DIRECTORY TIMES, for as many commands
that ask.
"""

import json
import pathlib
import re
import sys

SHARE_WORDS = 33


def main():
    directory, times = sys.argv[1:]
    files = sorted(pathlib.Path(directory).glob("*.txt"))
    # As they come to hand: not the first ones, and not in order.
    shares = [words(files[2]), words(files[0])]
    lines = [" ".join(share) for share in shares] * int(times)
    print(json.dumps([[r"word 1 of 33: $", *lines]]))


def words(file):
    between = re.search(r"^-+ BEGIN SHARE[^\n]*\n(.*?)^-+ END SHARE", file.read_text(), re.MULTILINE | re.DOTALL)
    found = re.findall(r"[a-z]+", between.group(1)) if between else []
    if len(found) != SHARE_WORDS:
        sys.exit(f"{file} has {len(found)} words")
    return found


if __name__ == "__main__":
    main()
