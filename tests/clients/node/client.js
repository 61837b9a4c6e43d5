// A caller in Node: @grpc/grpc-js with nothing generated, its schema read from proto/. What proto-loader makes of a
// schema learnt by reflection has no maps: `context` would be a list of pairs there.
//
// Must never mend what the library does: a table tells what a component in Node would meet.
// Called by ../libraries.sh: client.js SOCKET DIRECTORY SCHEMAS [UID]. What it reads and writes is told in
// ../python/client.py, its like in Python.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

// The names of the schema, and JSON's forms of bytes and 64-bit numbers.
const SHAPE = { keepCase: true, longs: String, enums: String, bytes: String, defaults: true };

// Where each service stands.
const FILES = {
  "servos.keyd.v1.KeyService": "servos/keyd/v1/key_service",
  "servos.keyd.v1.KeyAdmin": "servos/keyd/v1/key_admin",
  "grpc.health.v1.Health": "health_v1",
};

// Keeps its clients for all calls, as a component does.
class Caller {
  constructor(socket, schemas) {
    this.address = `unix:${socket}`;
    this.schemas = schemas;
    this.clients = new Map();
    this.services = new Map();
  }

  client(withAuthority) {
    if (!this.clients.has(withAuthority)) {
      const options = withAuthority ? { "grpc.default_authority": "localhost" } : {};
      this.clients.set(withAuthority, new grpc.Client(this.address, grpc.credentials.createInsecure(), options));
    }
    return this.clients.get(withAuthority);
  }

  // The service as a file tells it: its own, or that of a stranger.
  service(name, schema) {
    const file = schema || FILES[name];
    const known = `${file}/${name}`;
    if (!this.services.has(known)) {
      this.services.set(known, loader.loadSync(path.join(this.schemas, `${file}.proto`), SHAPE)[name]);
    }
    return this.services.get(known);
  }

  reflect(request) {
    const { ServerReflectionInfo } = this.service("grpc.reflection.v1.ServerReflection", "reflection_v1");
    return this.send(ServerReflectionInfo, request, { authority: true, deadline: 30, sends: "one" });
  }

  // Every message of the answer.
  async call(ask, request) {
    if (ask.method === "list") {
      const [answer] = await this.reflect({ list_services: "*" });
      return answer.list_services_response.service.map((service) => service.name).sort();
    }
    const [service, name] = ask.method.split("/");
    const method = this.service(service, ask.schema)[name];
    const crowd = Array.from({ length: ask.crowd }, () => this.send(method, JSON.parse(request), ask));
    await Promise.allSettled(crowd);
    const answers = await Promise.all(crowd);
    return answers.flat().map((answer) => JSON.stringify(inCamelCase(answer), null, 2));
  }

  send(method, request, ask) {
    const client = this.client(ask.authority);
    const metadata = new grpc.Metadata({ waitForReady: ask.ready });
    const options = { deadline: Date.now() + ask.deadline * 1000 };
    const as = [method.path, method.requestSerialize, method.responseDeserialize];
    return new Promise((resolve, reject) => {
      let running;
      if (!method.requestStream && !method.responseStream) {
        const done = (error, answer) => (error ? reject(error) : resolve([answer]));
        running = client.makeUnaryRequest(...as, request, metadata, options, done);
      } else {
        const answers = [];
        running = method.requestStream
          ? client.makeBidiStreamRequest(...as, metadata, options)
          : client.makeServerStreamRequest(...as, request, metadata, options);
        running.on("data", (answer) => answers.push(answer));
        running.on("error", reject);
        running.on("end", () => resolve(answers));
        if (method.requestStream && ask.sends === "one") running.write(request);
        if (method.requestStream && ask.sends !== "never") running.end();
      }
      if (ask.cancel) setTimeout(() => running.cancel(), 200);
    });
  }
}

// The names of JSON. No answer holds a map, whose keys would be changed too.
function inCamelCase(value) {
  if (Array.isArray(value)) return value.map(inCamelCase);
  if (value === null || typeof value !== "object") return value;
  const entry = ([key, inner]) => [key.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase()), inCamelCase(inner)];
  return Object.fromEntries(Object.entries(value).map(entry));
}

// An error as grpcurl prints one.
function told(error) {
  const words = grpc.status[error.code].split("_").map((word) => word[0] + word.slice(1).toLowerCase());
  const name = words.join("");
  return `ERROR:\n  Code: ${name === "Cancelled" ? "Canceled" : name}\n  Message: ${error.details}\n`;
}

async function main() {
  const [socket, directory, schemas, uid] = process.argv.slice(2);
  // Only now: another user need not be able to read this checkout, nor this Node.
  if (uid) {
    process.setgroups([]);
    process.setgid(Number(uid));
    process.setuid(Number(uid));
  }
  const caller = new Caller(socket, schemas);
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let out = "";
    let err = "";
    try {
      const request = fs.readFileSync(path.join(directory, "request"), "utf8");
      out = (await caller.call(JSON.parse(line), request)).join("\n") + "\n";
    } catch (error) {
      if (!(error instanceof Error) || error.details === undefined) throw error;
      err = told(error);
    }
    fs.writeFileSync(path.join(directory, "out"), out);
    fs.writeFileSync(path.join(directory, "err"), err);
    process.stdout.write(`${err ? 1 : 0}\n`);
  }
  process.exit(0);
}

main();
