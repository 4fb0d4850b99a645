// What runs beside the page, so that it stays usable: a client, asked by messages {id, call, given}, each answered by
// {id, result} or {id, refused} or {id, failed}. make_page.py puts the constants `ort` and
// `tokenizers` in front of this file.
import { Client } from "./client.mjs";
import { Refused } from "./errors.mjs";

let client;
let goesOn = true;

const calls = {
  async open({ wasm, files, probes }) {
    say("unpacking");
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmBinary = (await unpacked(wasm)).buffer;
    const bytes = new Map();
    for (const [name, parts] of files) {
      bytes.set(name, await unpacked(parts, name));
      parts.length = 0; // the text is as long as the file
    }
    say("comparing checksums");
    client = await Client.open(bytes, ort, (json) => new tokenizers.Tokenizer(json, {}), probes);
    return told();
  },
  encode: ({ texts }) => client.encoder.encode(texts),
  predict: ({ texts, before }) => client.predict(texts, { before }),
  async train({ examples, seed, epochs }) {
    goesOn = true;
    const found = await client.train(examples, { seed, epochs }, async (done, planned, loss) => {
      self.postMessage({ event: "update", done, planned, loss });
      await new Promise((resolve) => setTimeout(resolve)); // lets a message to stop come in
      return goesOn;
    });
    return { ...found, ...told() };
  },
  stateFile: () => client.stateFile(),
  async importState({ bytes, file }) {
    await client.importState(bytes, file);
    return told();
  },
  reset() {
    client.reset();
    return told();
  },
};

let last = Promise.resolve(); // calls are done one after the other

self.onmessage = ({ data }) => {
  if (data.call === "stop") goesOn = false;
  else last = last.then(() => answer(data));
};

async function answer({ id, call, given }) {
  try {
    self.postMessage({ id, result: await calls[call](given ?? {}) });
  } catch (error) {
    if (error instanceof Refused) self.postMessage({ id, refused: error.message });
    else self.postMessage({ id, failed: String(error?.message ?? error).split("\n")[0].slice(0, 300) });
  }
}

function say(stage) {
  self.postMessage({ event: "stage", stage });
}

function told() {
  const { manifest, labels, step } = client;
  const numbers = manifest.state.filter(({ group }) => group !== null).map(({ shape }) => shape.reduce((a, b) => a * b, 1));
  return { labels, step, model: manifest.model, method: manifest.method, task: manifest.task, recipe: manifest.recipe,
           trained: numbers.reduce((a, b) => a + b, 0), maxTokens: manifest.tokenizer.max_tokens };
}

// The bytes of a file that stands in the page: gzip in base64, in parts.
async function unpacked(parts, name = "ONNX Runtime") {
  try {
    const packed = parts.map(fromBase64);
    const stream = new Blob(packed).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw new Refused(`${name} is damaged: it cannot be unpacked; get the page again`);
  }
}

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let k = 0; k < bytes.length; k++) bytes[k] = letters.charCodeAt(k);
  return bytes;
}
