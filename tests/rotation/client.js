// A component in Node, with @grpc/grpc-js and the settings that docs/clients.md gives: it keeps a table of sealed rows,
// opens them, and moves them where due.
//
// Must never pass an answer that it did not compare, nor a plaintext in an argument.
// Run by tests/rotation/run: client.js SOCKET FILE [SEED]. client.rs beside it says what that means.
"use strict";

const crypto = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");
const { promisify } = require("node:util");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const CALLS = {
  methodConfig: [{
    name: [{ service: "servos.keyd.v1.KeyService" }],
    timeout: "10s",
    retryPolicy: {
      maxAttempts: 4,
      initialBackoff: "0.1s",
      maxBackoff: "2s",
      backoffMultiplier: 2,
      retryableStatusCodes: ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED"],
    },
  }],
};
const OPTIONS = { "grpc.default_authority": "localhost", "grpc.service_config": JSON.stringify(CALLS) };
const { UNAVAILABLE, RESOURCE_EXHAUSTED, ABORTED, DEADLINE_EXCEEDED } = grpc.status;
const TRANSIENT = [UNAVAILABLE, RESOURCE_EXHAUSTED, ABORTED, DEADLINE_EXCEEDED];
const SCHEMA = path.join(__dirname, "../../proto/servos/keyd/v1/key_service.proto");
const KEYS = ["default", "ssh-keys", "env-vars"];
const ROWS = 200;
const PATIENCE_MS = 30_000;
const LANES = 16;

const schema = loader.loadSync(SCHEMA, { defaults: true, enums: String, longs: String });
const { KeyService } = grpc.loadPackageDefinition(schema).servos.keyd.v1;
const waiting = new grpc.Metadata({ waitForReady: true });
const context = (row) => ({ table: "rotation", id: row.id });
const digestOf = (bytes) => crypto.createHash("sha256").update(bytes).digest("hex");

class Component {
  constructor(socket) {
    this.keyd = new KeyService(`unix:${socket}`, grpc.credentials.createInsecure(), OPTIONS);
    this.count = { sealed: 0, opened: 0, wrong: 0, lost: 0, retried: 0, slowest_ms: 0 };
  }

  // The answer, however often it takes; none if it is lost or refused.
  async call(rpc, request) {
    const began = Date.now();
    let answer;
    for (;;) {
      try {
        answer = await promisify(this.keyd[rpc]).call(this.keyd, request, waiting);
        break;
      } catch (error) {
        if (error.code === undefined) throw error;
        const isTransient = TRANSIENT.includes(error.code);
        if (isTransient && Date.now() - began < PATIENCE_MS) {
          console.error(`repeated after ${grpc.status[error.code]} ${error.details}`);
          this.count.retried += 1;
          await new Promise((resolve) => setTimeout(resolve, 100));
          continue;
        }
        console.error(`${grpc.status[error.code]}: ${error.details}`);
        this.count[isTransient ? "lost" : "wrong"] += 1;
        break;
      }
    }
    this.count.slowest_ms = Math.max(this.count.slowest_ms, Date.now() - began);
    return answer;
  }

  async work(file, seed) {
    let isOver = false;
    process.stdin.resume().on("end", () => { isOver = true; });
    const below = seeded(seed);
    const list = fs.openSync(file, "w");
    const rows = [];
    for (let number = 1; !isOver; number += 1) {
      if (below(10) === 0 || rows.length === 0) {
        const row = await this.seal(below, `${seed}-${number}`, list);
        if (row) rows[rows.length < ROWS ? rows.length : below(ROWS)] = row;
      } else {
        await this.openAndMove(rows[below(rows.length)], list);
      }
    }
    process.stdin.destroy();
  }

  async seal(below, id, list) {
    const size = { 0: 0, 1: 32 << 10 }[below(200)] ?? below(400);
    const plaintext = Buffer.from(Array.from({ length: size }, () => below(256)));
    const row = { key: KEYS[below(3)], id, digest: digestOf(plaintext) };
    const sealed = await this.call("Encrypt", { key: row.key, plaintext, context: context(row) });
    if (!sealed) return undefined;
    this.keep(row, sealed.ciphertext, list);
    return row;
  }

  async openAndMove(row, list) {
    if (!(await this.open(row))) return;
    const { key, ciphertext } = row;
    const moved = await this.call("ReEncrypt", { key, ciphertext, context: context(row) });
    if (moved) this.keep(row, moved.ciphertext, list);
  }

  // Tells whether the row should be moved.
  async open(row) {
    const { key, ciphertext } = row;
    const opened = await this.call("Decrypt", { key, ciphertext, context: context(row) });
    if (!opened) return false;
    if (digestOf(opened.plaintext) === row.digest && opened.format === "FORMAT_SKD1") {
      this.count.opened += 1;
    } else {
      console.error(`row ${row.id} opens as something else`);
      this.count.wrong += 1;
    }
    return !opened.primary;
  }

  keep(row, ciphertext, list) {
    this.count.sealed += 1;
    row.ciphertext = ciphertext;
    fs.writeSync(list, `${[row.key, row.id, row.digest, ciphertext.toString("base64")].join("\t")}\n`);
  }

  async check(file) {
    const rows = fs.readFileSync(file, "utf8").split("\n").slice(0, -1).map(parsed);
    const lane = async (first) => {
      for (let at = first; at < rows.length; at += LANES) await this.open(rows[at]);
    };
    await Promise.all(Array.from({ length: LANES }, (_, first) => lane(first)));
  }
}

function parsed(line) {
  const [key, id, digest, text] = line.split("\t");
  return { key, id, digest, ciphertext: Buffer.from(text, "base64") };
}

// Mulberry32: the same seed makes the same calls.
function seeded(seed) {
  let state = seed >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  };
}

async function main() {
  const [socket, file, seed] = process.argv.slice(2);
  const component = new Component(socket);
  await (seed === undefined ? component.check(file) : component.work(file, Number(seed)));
  component.keyd.close();
  console.log(JSON.stringify(component.count));
}

main();
