// Asks Perfetto's own trace processor, the one of its user interface, about a trace file.
//
//   node perfetto.mjs WEB_DIST TRACE < QUERIES      QUERIES: a JSON list of SQL texts
//
// WEB_DIST is a folder with engine_bundle.js and trace_processor.wasm. Prints a JSON list: for each query its rows.
// perfetto.py finds the folder and judges the answers.
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const [folder, trace] = process.argv.slice(2);
if (!trace) throw new Error("usage: node perfetto.mjs WEB_DIST TRACE < QUERIES");
const queries = JSON.parse(readFileSync(0, "utf8"));

// The bundle is made for a web worker: it is told that this is one, and its wasm comes from the disk.
process.type = "renderer";
globalThis.self = globalThis;
globalThis.WorkerGlobalScope = class {};
globalThis.location = { href: "http://localhost/engine_bundle.js" };
globalThis.XMLHttpRequest = class {
  open(_, url) {
    this.response = readFileSync(path.join(folder, path.basename(String(url))));
  }
  send() {}
};
console.warn = () => {}; // what it logs of itself

// MARK: the protocol (protos/perfetto/trace_processor/trace_processor.proto), as much as is needed here

const MIB = 1 << 20;
const APPEND = 1, FINALIZE = 2, QUERY = 3; // TraceProcessorMethod

function varint(value) {
  const bytes = [];
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Buffer.from([...bytes, value]);
}
const number = (field, value) => Buffer.concat([varint(field * 8), varint(value)]);
const bytes = (field, value) => Buffer.concat([varint(field * 8 + 2), varint(value.length), value]);

/** The fields of a message: [number, value], a varint as BigInt, all else as a Buffer. */
function* fields(message) {
  let at = 0;
  const next = () => {
    let value = 0n, shift = 0n, byte;
    do {
      byte = message[at++];
      value |= BigInt(byte & 127) << shift;
      shift += 7n;
    } while (byte & 128);
    return value;
  };
  while (at < message.length) {
    const tag = Number(next());
    const kind = tag & 7;
    if (kind === 0) {
      yield [tag >> 3, BigInt.asIntN(64, next())];
      continue;
    }
    const length = kind === 2 ? Number(next()) : kind === 1 ? 8 : 4;
    yield [tag >> 3, message.subarray(at, at + length)];
    at += length;
  }
}
const varints = (packed) => {
  const found = [];
  let value = 0n, shift = 0n;
  for (const byte of packed) {
    value |= BigInt(byte & 127) << shift;
    shift += 7n;
    if (byte & 128) continue;
    found.push(Number(BigInt.asIntN(64, value)));
    [value, shift] = [0n, 0n];
  }
  return found;
};

/** Adds the cells of a QueryResult to `result`; they go row by row, each kind in a list of its own. */
function read(message, result) {
  for (const [field, value] of fields(message)) {
    if (field === 1) result.columns.push(value.toString());
    if (field === 2) throw new Error(`query failed: ${value}`);
    if (field !== 3) continue;
    let kinds = [], numbers = [], doubles = Buffer.alloc(0), strings = [];
    for (const [part, of] of fields(value)) {
      if (part === 1) kinds = varints(of);
      if (part === 2) numbers = varints(of);
      if (part === 3) doubles = of;
      if (part === 5) strings = of.toString().split("\0");
    }
    let real = 0;
    const cell = {
      1: () => null, 2: () => numbers.shift(), 3: () => doubles.readDoubleLE(8 * real++), 4: () => strings.shift(),
    };
    // CellType: 1 null, 2 varint, 3 float64, 4 string.
    for (const kind of kinds) result.cells.push((cell[kind] ?? (() => "blob"))());
  }
}

// MARK: the conversation

let answered; // what the processor said since the last call
const port = { postMessage: (data) => answered.push(Buffer.from(data)) };

/** Hands one call over and gives the calls that came back; the processor works before it returns. */
function call(...parts) {
  answered = [];
  port.onmessage({ data: new Uint8Array(bytes(1, Buffer.concat(parts))) });
  const answers = [...fields(Buffer.concat(answered))].map(([, rpc]) => [...fields(rpc)]);
  for (const answer of answers)
    for (const [field, value] of answer) if (field === 5) throw new Error(`the trace processor failed: ${value}`);
  return answers.flat();
}

// Its source is one line: an error would show all of it.
process.on("uncaughtException", (error) => {
  console.error(`perfetto.mjs: ${error.message}`);
  process.exit(1);
});
createRequire(import.meta.url)(path.resolve(folder, "engine_bundle.js"));
self.onmessage({ data: port });
await new Promise((resolve) => setTimeout(resolve)); // its own start waits for a promise

let sequence = 1;
const file = openSync(trace, "r");
const piece = Buffer.alloc(8 * MIB);
for (let length; (length = readSync(file, piece)) > 0; ) {
  for (const [field, value] of call(number(1, sequence++), number(2, APPEND), bytes(101, piece.subarray(0, length))))
    if (field === 201) for (const [part, text] of fields(value)) if (part === 2) throw new Error(`not read: ${text}`);
}
closeSync(file);
call(number(1, sequence++), number(2, FINALIZE));

const results = queries.map((sql) => {
  const result = { columns: [], cells: [] };
  for (const [field, value] of call(number(1, sequence++), number(2, QUERY), bytes(103, bytes(1, Buffer.from(sql)))))
    if (field === 203) read(value, result);
  const width = result.columns.length || 1;
  return Array.from({ length: result.cells.length / width }, (_, row) => result.cells.slice(row * width, (row + 1) * width));
});
process.stdout.write(JSON.stringify(results) + "\n");
