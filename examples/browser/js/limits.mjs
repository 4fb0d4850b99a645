// What the values of a manifest may be: as on the device (runtime/manifest.py), so that both refuse the same bundles.
import { Refused } from "./errors.mjs";

// By place, where * is every key: least, most, and whether the number is whole.
const LIMITS = {
  "files.*.bytes": [0, 2 ** 40, true],
  ir_version: [1, 1000, true],
  "model.blocks": [0, 10_000, true],
  "model.hidden_size": [1, 2 ** 20, true],
  opset: [1, 1000, true],
  "plan.*": [0, 1e15, false],
  "recipe.batch_size": [1, 100_000, true],
  "recipe.clip_norm": [1e-12, 1e12, false],
  "recipe.epochs": [0, 100_000, true],
  "recipe.head_margin": [0, 1e6, false],
  "recipe.head_shrinkage": [0, 1, false],
  "recipe.l1": [0, 1e6, false],
  "recipe.learning_rates.*": [0, 1000, false],
  "recipe.min_steps": [0, 10_000_000, true],
  "recipe.weight_decay": [0, 1000, false],
  reserved_classes: [0, 100_000, true],
  "state.*.shape.*": [0, 2 ** 27, true],
  "tokenizer.max_tokens": [1, 2 ** 20, true],
  "tokenizer.pad_id": [0, 2 ** 31, true],
};
const MAY_BE_ABSENT = ["recipe.head_shrinkage", "tokenizer.pad_id"];
const MOST_NUMBERS = 2 ** 27; // of the whole state
const MOST_BYTES = { graph: 128 * 2 ** 20, tokenizer: 40 * 2 ** 20 };

// Throws for numbers out of their ranges, and for values that contradict each other.
export function checkLimits(manifest) {
  for (const [place, [least, most, whole]] of Object.entries(LIMITS))
    for (const [name, value] of valuesAt(manifest, place.split("."))) {
      if (value === undefined && MAY_BE_ABSENT.includes(place)) continue;
      const right = typeof value === "number" && value >= least && value <= most && (!whole || Number.isInteger(value));
      if (!right) throw wrong(`${name} = ${JSON.stringify(value)}, which is not ${whole ? "a whole number " : ""}from ${least} to ${most}`);
    }
  const { state, labels, files, graphs } = manifest;
  const shapes = new Map(state.map(({ name, shape }) => [name, shape]));
  const classes = labels.length + manifest.reserved_classes;
  for (const [name, shape] of [["head.weight", [classes, manifest.model.hidden_size]], ["head.bias", [classes]]])
    if (String(shapes.get(name)) !== String(shape)) throw wrong(`${name} of shape (${shapes.get(name)}), not (${shape})`);
  if (shapes.size !== state.length) throw wrong("a state tensor twice");
  if (state.some(({ dtype }) => dtype !== "float32")) throw wrong("a state tensor that is not float32");
  if (new Set(labels).size !== labels.length || labels.length < 2 || !labels.every((label) => typeof label === "string"))
    throw wrong("labels that are not at least two different names");
  const strange = manifest.l1_names.find((name) => !shapes.has(name));
  if (strange !== undefined) throw wrong(`l1_names with ${strange}, which is no state tensor`);
  const numbers = [...shapes.values()].reduce((sum, shape) => sum + shape.reduce((product, extent) => product * extent, 1), 0);
  if (numbers > MOST_NUMBERS) throw wrong(`a state of more than ${MOST_NUMBERS} numbers`);
  for (const { file } of Object.values(graphs))
    if (files[file]?.bytes > MOST_BYTES.graph) throw wrong(`a graph, ${file}, of more than ${MOST_BYTES.graph} bytes`);
  if (files[manifest.tokenizer.file]?.bytes > MOST_BYTES.tokenizer)
    throw wrong(`a tokenizer of more than ${MOST_BYTES.tokenizer} bytes`);
}

function wrong(what) {
  return new Refused(`manifest.json has ${what}`);
}

// The names and values at a place; * stands for every key.
function* valuesAt(value, [key, ...rest], name = "") {
  for (const each of key === "*" ? Object.keys(value ?? {}) : [key]) {
    const here = name ? `${name}.${each}` : each;
    if (rest.length) yield* valuesAt(value?.[each], rest, here);
    else yield [here, value?.[each]];
  }
}
