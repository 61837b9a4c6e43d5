"""A component in Python, with grpcio and the settings that docs/clients.md gives: it keeps a table of sealed rows, opens
them, and moves them where due.

Must never pass an answer that it did not compare, nor a plaintext in an argument.
Run by tests/rotation/run: client.py SOCKET FILE [SEED [LEGACY-ROWS]]. client.rs beside it says what that means; with
LEGACY-ROWS, a file like tests/vectors/legacy.json, it opens values from before servos-keyd in between.
"""

import base64
import collections
import hashlib
import json
import pathlib
import random
import sys
import threading
import time

import grpc
from servos.keyd.v1 import key_service_pb2 as messages
from servos.keyd.v1 import key_service_pb2_grpc as services

CALLS = {
    "methodConfig": [{
        "name": [{"service": "servos.keyd.v1.KeyService"}],
        "waitForReady": True,
        "timeout": "10s",
        "retryPolicy": {
            "maxAttempts": 4,
            "initialBackoff": "0.1s",
            "maxBackoff": "2s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED"],
        },
    }]
}
OPTIONS = [("grpc.default_authority", "localhost"), ("grpc.service_config", json.dumps(CALLS))]
TRANSIENT = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
KEYS = ["default", "ssh-keys", "env-vars"]
ROWS = 200
PATIENCE = 30
LANES = 16

Row = collections.namedtuple("Row", "key id digest ciphertext")


class Component:
    def __init__(self, socket):
        self.keyd = services.KeyServiceStub(grpc.insecure_channel(f"unix:{socket}", OPTIONS))
        self.count = dict.fromkeys(["sealed", "opened", "wrong", "lost", "retried", "slowest_ms"], 0)

    def call(self, rpc, request):
        """The answer, however often it takes; none if it is lost or refused."""
        return self.answer(rpc, request, rpc.future(request), time.monotonic())

    def answer(self, rpc, request, running, began):
        while True:
            try:
                answer = running.result()
                break
            except grpc.RpcError as error:
                answer = None
                if error.code() in TRANSIENT and time.monotonic() - began < PATIENCE:
                    print("repeated after", error.code().name, error.details(), file=sys.stderr)
                    self.count["retried"] += 1
                    time.sleep(0.1)
                    running = rpc.future(request)
                    continue
                print(error.code().name, error.details(), file=sys.stderr)
                self.count["lost" if error.code() in TRANSIENT else "wrong"] += 1
                break
        self.count["slowest_ms"] = max(self.count["slowest_ms"], int((time.monotonic() - began) * 1000))
        return answer

    def compare(self, row_id, digest, opened, wanted_format=messages.FORMAT_SKD1):
        if hashlib.sha256(opened.plaintext).hexdigest() == digest and opened.format == wanted_format:
            self.count["opened"] += 1
        else:
            print(f"row {row_id} opens as something else", file=sys.stderr)
            self.count["wrong"] += 1

    def work(self, path, seed, legacy):
        is_over = until_input_closes()
        chance, rows, number = random.Random(seed), [], 0
        with open(path, "w", buffering=1) as keep:
            while not is_over.is_set():
                number += 1
                if legacy and number % 20 == 0:
                    self.open_legacy(chance.choice(legacy))
                elif chance.randrange(10) == 0 or not rows:
                    self.seal(chance, f"{seed}-{number}", rows, keep)
                else:
                    self.open_and_move(rows, chance.randrange(len(rows)), keep)

    def seal(self, chance, row_id, rows, keep):
        plaintext = chance.randbytes({0: 0, 1: 32 << 10}.get(chance.randrange(200), chance.randrange(400)))
        row = Row(chance.choice(KEYS), row_id, hashlib.sha256(plaintext).hexdigest(), b"")
        request = messages.EncryptRequest(key=row.key, plaintext=plaintext, context=context(row))
        if sealed := self.call(self.keyd.Encrypt, request):
            row = self.keep(row, sealed.ciphertext, keep)
            if len(rows) < ROWS:
                rows.append(row)
            else:
                rows[chance.randrange(ROWS)] = row

    def open_and_move(self, rows, at, keep):
        row = rows[at]
        opened = self.call(self.keyd.Decrypt, decrypt_request(row))
        if not opened:
            return
        self.compare(row.id, row.digest, opened)
        if not opened.primary:
            request = messages.ReEncryptRequest(key=row.key, ciphertext=row.ciphertext, context=context(row))
            if moved := self.call(self.keyd.ReEncrypt, request):
                rows[at] = self.keep(row, moved.ciphertext, keep)

    def open_legacy(self, row):
        ciphertext = base64.b64decode(row["stored"], validate=True)
        if opened := self.call(self.keyd.Decrypt, messages.DecryptRequest(ciphertext=ciphertext, allow_legacy=True)):
            digest = hashlib.sha256(bytes.fromhex(row["plaintext"])).hexdigest()
            self.compare(row["id"], digest, opened, messages.FORMAT_LEGACY)
            self.count["legacy"] = self.count.get("legacy", 0) + 1

    def keep(self, row, ciphertext, keep):
        self.count["sealed"] += 1
        keep.write("\t".join([row.key, row.id, row.digest, base64.b64encode(ciphertext).decode()]) + "\n")
        return row._replace(ciphertext=ciphertext)

    def check(self, path):
        rows = [parsed(line) for line in pathlib.Path(path).read_text().splitlines()]
        for at in range(0, len(rows), LANES):
            began = time.monotonic()
            requests = [(row, decrypt_request(row)) for row in rows[at:at + LANES]]
            running = [(row, request, self.keyd.Decrypt.future(request)) for row, request in requests]
            for row, request, future in running:
                if opened := self.answer(self.keyd.Decrypt, request, future, began):
                    self.compare(row.id, row.digest, opened)


def context(row):
    return {"table": "rotation", "id": row.id}


def decrypt_request(row):
    return messages.DecryptRequest(key=row.key, ciphertext=row.ciphertext, context=context(row))


def parsed(line):
    key, row_id, digest, text = line.split("\t")
    return Row(key, row_id, digest, base64.b64decode(text, validate=True))


def until_input_closes():
    is_over = threading.Event()

    def wait():
        sys.stdin.buffer.read()
        is_over.set()

    threading.Thread(target=wait, daemon=True).start()
    return is_over


def main():
    socket, path, *rest = sys.argv[1:]
    component = Component(socket)
    if rest:
        legacy = [row for row in json.loads(pathlib.Path(rest[1]).read_text())["rows"] if row["valid"]] if rest[1:] else []
        component.work(path, int(rest[0]), legacy)
    else:
        component.check(path)
    print(json.dumps(component.count))


main()
