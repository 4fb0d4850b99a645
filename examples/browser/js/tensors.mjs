// States as safetensors files: 8 bytes with the length of the header, the header in JSON, the numbers.
import { sha256 } from "./bundle.mjs";
import { Refused } from "./errors.mjs";

const MOST_HEADER_BYTES = 8 << 20;

// The metadata and the float32 tensors of a file: {told, tensors: Map of name -> {shape, data}}.
export function readTensors(bytes, file) {
  const broken = (why) => new Refused(`${file} is no file that edge-adapt wrote: ${why}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = bytes.length < 8 ? -1 : Number(view.getBigUint64(0, true));
  if (length < 0 || length > Math.min(MOST_HEADER_BYTES, bytes.length - 8)) throw broken("it is cut off");
  let header;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(8, 8 + length)));
  } catch {
    throw broken("its header is no JSON");
  }
  if (!isObject(header)) throw broken("its header is no object");
  const { __metadata__: told = {}, ...entries } = header;
  if (!isObject(told)) throw broken("its metadata are no object");
  const tensors = new Map();
  for (const [name, entry] of Object.entries(entries)) {
    if (!isObject(entry) || !areCounts(entry.shape) || !areCounts(entry.data_offsets))
      throw broken(`it does not say where the tensor ${name} lies`);
    if (entry.dtype !== "F32") continue; // how a state was trained by MeZO; the state itself is float32
    const [begin, end] = entry.data_offsets;
    const count = entry.shape.reduce((product, extent) => product * extent, 1);
    if (end - begin !== 4 * count || 8 + length + end > bytes.length) throw broken(`the tensor ${name} does not lie in it`);
    const start = 8 + length + begin;
    tensors.set(name, { shape: entry.shape, data: new Float32Array(bytes.slice(start, start + 4 * count).buffer) });
  }
  return { told, tensors };
}

// The bytes of a file. Numbers are little-endian, as in every browser.
export function writeTensors(tensors, told) {
  const header = { __metadata__: told };
  let end = 0;
  for (const [name, { shape, data }] of tensors) {
    header[name] = { dtype: "F32", shape, data_offsets: [end, end + data.byteLength] };
    end += data.byteLength;
  }
  let text = new TextEncoder().encode(JSON.stringify(header));
  const padding = (8 - (text.length % 8)) % 8;
  const bytes = new Uint8Array(8 + text.length + padding + end).fill(32); // blanks up to a multiple of 8
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length + padding), true);
  bytes.set(text, 8);
  let place = 8 + text.length + padding;
  for (const { data } of tensors.values()) {
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), place);
    place += data.byteLength;
  }
  return bytes;
}

// The SHA-256 of a state, in hex digits, as docs/bundle.md has it. In the order of names; where one begins with another,
// the shorter one comes first, as in UTF-8.
export async function stateDigest(tensors) {
  const encoder = new TextEncoder();
  const named = [...tensors].map(([name, tensor]) => ({ written: encoder.encode(name), ...tensor }));
  named.sort((one, other) => compare(one.written, other.written));
  const parts = named.flatMap(({ written, shape, data }) => [
    counts([written.length]),
    written,
    counts([shape.length, ...shape]),
    new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  ]);
  return sha256(new Uint8Array(await new Blob(parts).arrayBuffer()));
}

// Numbers as unsigned 64 bit.
function counts(numbers) {
  return new Uint8Array(BigUint64Array.from(numbers, BigInt).buffer);
}

// Below 0 where the bytes of one come first.
function compare(one, other) {
  const place = one.findIndex((byte, k) => byte !== other[k]);
  return place < 0 || place >= other.length ? one.length - other.length : one[place] - other[place];
}

// Why tensors are not the state of a bundle, or "".
export function misfit(manifest, tensors) {
  for (const { name, shape } of manifest.state) {
    const found = tensors.get(name);
    if (!found) return `the tensor ${name} is missing`;
    if (String(found.shape) !== String(shape)) return `the tensor ${name} has shape (${found.shape}), not (${shape})`;
    if (!found.data.every(Number.isFinite)) return `the tensor ${name} has numbers that are not finite`;
  }
  const known = new Set(manifest.state.map(({ name }) => name));
  const strange = [...tensors.keys()].find((name) => !known.has(name) && !name.startsWith("mezo/"));
  return strange === undefined ? "" : `the tensor ${strange} is none of this bundle`;
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function areCounts(values) {
  return Array.isArray(values) && values.every((value) => Number.isSafeInteger(value) && value >= 0);
}
