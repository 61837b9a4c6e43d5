"""What tests/recovery/run runs: shares of servos-keyctl put together by shamir-mnemonic, and the other way round.

Must never print a key or a share. Called by tests/recovery/run, with the tool and the number of keys.
"""

import itertools
import os
import random
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

import shamir_mnemonic

TOOL, KEYS = sys.argv[1], int(sys.argv[2])
PLANS = [(1, 1), (2, 2), (2, 3), (3, 5), (5, 9), (16, 16)]
MOST_CHOICES = 6


def tool(*arguments, stdin="", code=0):
    environment = {"PATH": os.environ["PATH"]}
    ran = subprocess.run([TOOL, *arguments], input=stdin, capture_output=True, text=True, env=environment)
    if ran.returncode != code:
        sys.exit(f"FAILED: {arguments[0]} ended with {ran.returncode}, not {code}: {ran.stderr}")
    return ran.stdout


def words_of(sheet):
    block = sheet.split("BEGIN SHARE")[1].split("-----\n", 1)[1].split("----- END")[0]
    return " ".join(word for word in block.split() if word.isalpha())


def choices(shares, needed):
    every = list(itertools.combinations(shares, needed))
    return random.sample(every, min(MOST_CHOICES, len(every)))


def ours_to_theirs(directory, key, needed, count):
    key_file = directory / "key"
    key_file.touch(mode=0o600)
    key_file.write_text(key.hex() + "\n")
    plan = f"{needed}/{count}"
    text = tool("recovery-kit", "--key-file", str(key_file), "--shares", plan, "--unchecked", "--out", "-")
    shares = [words_of(sheet) for sheet in text.split("\f")]
    assert len(shares) == count and all(len(share.split()) == 33 for share in shares)
    for chosen in choices(shares, needed):
        assert shamir_mnemonic.combine_mnemonics(chosen) == key, "another key came out"
    if needed > 1:
        try:
            shamir_mnemonic.combine_mnemonics(shares[: needed - 1])
        except shamir_mnemonic.MnemonicError:
            pass
        else:
            sys.exit("FAILED: too few shares were enough")
    return text.split("Fingerprint")[1].split(",")[0].strip()


def theirs_to_ours(directory, key, needed, count, fingerprint):
    for extendable in (True, False):
        groups = shamir_mnemonic.generate_mnemonics(1, [(needed, count)], key, extendable=extendable)
        for chosen in choices(groups[0], needed):
            out = directory / "out"
            shuffled = random.sample(list(chosen), needed)
            tool("recover", "--typed", "--fingerprint", fingerprint, "--out", str(out), stdin="\n".join(shuffled))
            assert out.read_text() == key.hex() + "\n", "another key came out"
            out.unlink()
    grouped = shamir_mnemonic.generate_mnemonics(1, [(1, 1), (2, 3)], key)
    out = str(directory / "out")
    tool("recover", "--typed", "--fingerprint", fingerprint, "--out", out, stdin=grouped[0][0], code=65)


def main():
    there = back = 0
    for number in range(KEYS):
        key = secrets.token_bytes(32)
        for needed, count in PLANS:
            with tempfile.TemporaryDirectory() as name:
                fingerprint = ours_to_theirs(Path(name), key, needed, count)
                there += 1
                # Many processes: one plan of theirs for each key.
                if (number + needed + count) % 3 == 0:
                    theirs_to_ours(Path(name), key, needed, count, fingerprint)
                    back += 1
    print(f"{there} kits of servos-keyctl put together by shamir-mnemonic, {back} of shamir-mnemonic by servos-keyctl")


main()
