// A bundle's manifest and files, checked as docs/bundle.md says: nothing of a damaged bundle is used.
import { Refused } from "./errors.mjs";
import { checkLimits } from "./limits.mjs";

const SCHEMA = 1;
export const INITIAL_STATE = "initial.safetensors";
export const HEAD = ["head.weight", "head.bias"];
const SESSION_ENTRIES = [
  "session.disable_quant_qdq",
  "session.qdq_matmulnbits_accuracy_level",
  "session.intra_op.allow_spinning",
];

// SHA-256 of bytes, in hex digits.
export async function sha256(bytes) {
  if (!globalThis.crypto?.subtle)
    throw new Refused("This browser computes checksums only for pages from a file, from localhost or by https");
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// The manifest in the bytes of its file, which end with their own checksum.
export async function readManifest(bytes) {
  const text = new TextDecoder().decode(bytes);
  const schema = /"schema": "edge-adapt\/bundle\/(\d{1,6})"/.exec(text);
  if (schema && Number(schema[1]) > SCHEMA)
    throw new Refused(`manifest.json has schema edge-adapt/bundle/${schema[1]}; this page reads up to ${SCHEMA}`);
  const end = /"manifest_sha256": "([0-9a-f]{64})"\n}\n$/.exec(text);
  if (!end) throw new Refused("manifest.json is damaged: it does not end with its own checksum");
  const zeroed = bytes.slice();
  const digits = bytes.length - '"\n}\n'.length - 64;
  zeroed.fill("0".charCodeAt(0), digits, digits + 64);
  if ((await sha256(zeroed)) !== end[1]) throw new Refused("manifest.json is damaged: its checksum does not match");
  const manifest = JSON.parse(text);
  check(manifest);
  return manifest;
}

// Throws unless a file of the bundle is the one that the manifest names.
export async function checkFile(manifest, name, bytes) {
  const wanted = manifest.files[name];
  if (!bytes) throw new Refused(`${name} is missing in the bundle`);
  if (bytes.length !== wanted.bytes)
    throw new Refused(`${name} is damaged: it has ${bytes.length} bytes, not ${wanted.bytes}`);
  if ((await sha256(bytes)) !== wanted.sha256)
    throw new Refused(`${name} is damaged: its SHA-256 does not match the manifest`);
}

// Names of the tensors that are trained.
export function trainedNames(manifest) {
  return manifest.state.filter(({ group }) => group !== null).map(({ name }) => name);
}

// Whether nothing but the head is trained.
export function headOnly(manifest) {
  return trainedNames(manifest).every((name) => HEAD.includes(name));
}

function check(manifest) {
  if (manifest.schema !== `edge-adapt/bundle/${SCHEMA}`) throw new Refused(`the bundle has schema ${manifest.schema}`);
  if (!manifest.tokenizer) throw new Refused("This page takes bundles of texts; this one is none");
  if (!manifest.graphs.train && !headOnly(manifest)) throw new Refused("manifest.json names no training graph");
  if ((manifest.recipe.head_shrinkage ?? 1) !== 1)
    throw new Refused("This page starts a head at class means; the bundle asks for discriminant analysis");
  checkLimits(manifest);
  for (const graph of Object.values(manifest.graphs))
    for (const entry of Object.keys(graph.session.config))
      if (!SESSION_ENTRIES.includes(entry)) throw new Refused(`manifest.json has the foreign session entry ${entry}`);
  for (const { name, group } of manifest.state)
    if (group !== null && !(group in manifest.recipe.learning_rates))
      throw new Refused(`manifest.json has no learning rate for ${name}`);
}

// The files that a graph's weights lie in: those with no other use.
export function weightFiles(manifest) {
  const others = new Set([INITIAL_STATE, manifest.tokenizer.file]);
  for (const graph of Object.values(manifest.graphs)) others.add(graph.file);
  return Object.keys(manifest.files).filter((name) => !others.has(name));
}
