"""Evaluates one expression of a table of cases: over the answer of a call, over named values, over the vectors.

Must never be given an expression from outside of this repository.
Called by tests/clients/run: check.py VALUES NAME|- EXPRESSION < ANSWER. With a name, the result is kept as that value;
with -, it must be true.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import sys


def raw(text):
    """The bytes that a text of base64 stands for."""
    return base64.b64decode(text, validate=True)


def b64(data):
    """Bytes, or a text's bytes, as base64."""
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def vectors(name):
    """A file of tests/vectors."""
    return json.loads((pathlib.Path(__file__).parents[1] / "vectors" / name).read_text())


def key(word):
    """A master key as its file has it, the same for the same word: none has to stand in a table, or in an argument."""
    return hashlib.sha256(f"servos-keyd test key: {word}".encode()).hexdigest()


def fingerprint(text):
    """The fingerprint of a master key in hex: 8 bytes of HKDF-Expand (RFC 5869)."""
    label = b"servos-keyd/master/fingerprint"
    return hmac.digest(bytes.fromhex(text.strip()), label + b"\x01", "sha256")[:8].hex()


def documents(text):
    """Every JSON document in a text: one for each message of an answer."""
    found = []
    while text := text.lstrip():
        document, end = json.JSONDecoder().raw_decode(text)
        found.append(document)
        text = text[end:]
    return found


def main():
    values, name, expression = sys.argv[1:]
    names = {path.name: path.read_text() for path in pathlib.Path(values).iterdir() if path.is_file()}
    answer = sys.stdin.read()
    names |= {"raw": raw, "b64": b64, "vectors": vectors, "dumps": json.dumps, "base64": base64}
    names |= {"key": key, "fingerprint": fingerprint, "pathlib": pathlib}
    names["answers"] = documents(answer)
    names["answer"] = names["answers"][0] if names["answers"] else None
    result = eval(expression, names)
    if name == "-":
        sys.exit(None if result is True else f"not so: {expression}\nanswer: {answer[:2000]}")
    (pathlib.Path(values) / name).write_text(result if isinstance(result, str) else json.dumps(result))


if __name__ == "__main__":
    main()
