// A bundle opened in a browser: encode, train, predict, keep the state. What edge_adapt.runtime.Session is on a device.
import { checkFile, HEAD, headOnly, INITIAL_STATE, readManifest, trainedNames, weightFiles } from "./bundle.mjs";
import { Refused } from "./errors.mjs";
import { classMeanHead, headLossAndGradients, softmax } from "./head.mjs";
import { Learner } from "./learner.mjs";
import { withoutDefaults } from "./onnx_file.mjs";
import { Order } from "./order.mjs";
import { misfit, readTensors, stateDigest, writeTensors } from "./tensors.mjs";
import { Encoder } from "./tokens.mjs";

const EVALUATION_BATCH = 16;

export class Client {
  // `files`: the bundle's files by name (bytes); `ort`: onnxruntime-web; `makeTokenizer`: see Encoder; `probes`: texts
  // with the ids that the device has for them.
  static async open(files, ort, makeTokenizer, probes) {
    const client = new Client();
    if (!files.has("manifest.json")) throw new Refused("This page holds no bundle");
    client.manifest = await readManifest(files.get("manifest.json"));
    const manifest = client.manifest;
    for (const name of Object.keys(manifest.files)) await checkFile(manifest, name, files.get(name));
    client.files = files;
    client.ort = ort;
    client.sessions = new Map();
    const json = JSON.parse(new TextDecoder().decode(files.get(manifest.tokenizer.file)));
    try {
      client.encoder = new Encoder(json, manifest.tokenizer, makeTokenizer);
    } catch (error) {
      throw new Refused(`This page cannot read the bundle's tokenizer: ${error.message}`);
    }
    client.encoder.check(probes);
    client.reset();
    return client;
  }

  // Names of the classes: those of the bundle, then those that the state was taught.
  get labels() {
    return [...this.manifest.labels, ...this.taught];
  }

  // Back to the exported state.
  reset() {
    const { tensors } = readTensors(this.files.get(INITIAL_STATE), INITIAL_STATE);
    const problem = misfit(this.manifest, tensors);
    if (problem) throw new Refused(`${INITIAL_STATE} is damaged: ${problem}`);
    this.values = this.valuesBefore = this.start = tensors;
    this.step = 0;
    this.taught = [];
    this.examples = null;
  }

  // The probabilities of all labels for each text, from the state as it is, or as it was before the last change.
  async predict(texts, { before = false } = {}) {
    if (!texts.length) throw new Refused("There are no texts");
    const values = before ? this.valuesBefore : this.values;
    const { rows } = await this.outputs(values, this.encoder.encode(texts), "logits", EVALUATION_BATCH);
    return rows.map((row) => softmax([...row.subarray(0, this.labels.length)]));
  }

  // Trains on examples, {text, label} each, and makes the result the state. `onUpdate(done, planned, loss)` returns
  // whether to go on: where it does not, the state stays as it was. Losses and other figures are returned.
  async train(examples, { seed = 0, epochs } = {}, onUpdate = () => true) {
    if (!examples.length) throw new Refused("There are no examples to train on");
    const { recipe } = this.manifest;
    let labels = examples.map(({ label }) => this.classOf(label));
    let encoded = this.encoder.encode(examples.map(({ text }) => text));
    const perEpoch = Math.ceil(encoded.length / recipe.batch_size);
    if (epochs === undefined) epochs = recipe.epochs ? Math.max(recipe.epochs, Math.ceil(recipe.min_steps / perEpoch)) : 0;
    if (!trainedNames(this.manifest).length) epochs = 0; // the means of each class are all
    const values = this.step === 0 ? await this.headAtMeans(encoded, labels) : this.values;
    const head = headOnly(this.manifest);
    let features;
    if (head && epochs) {
      // Features are computed once, of the examples in order of length, as the device keeps them.
      const sorted = byLength(encoded);
      [encoded, labels] = [encoded, labels].map((list) => sorted.map((row) => list[row]));
      features = (await this.outputs(values, encoded, "features", EVALUATION_BATCH)).rows;
    }
    await this.close("infer"); // one graph in memory at a time: the weights are most of it
    const learner = new Learner(this.manifest, values, (state, rows) =>
      head ? this.headLossAndGradients(state, features, labels, rows) : this.lossAndGradients(state, encoded, labels, rows),
    );
    const order = new Order(seed);
    const losses = [];
    const planned = epochs * perEpoch;
    try {
      for (let epoch = 0; epoch < epochs; epoch++) {
        for (const rows of parts(order.permutation(encoded.length), recipe.batch_size, head)) {
          losses.push(await learner.step(rows, 1 - losses.length / planned));
          if (!(await onUpdate(losses.length, planned, losses.at(-1)))) return { losses, stopped: true };
        }
      }
      if (planned) await learner.settle([0]);
    } finally {
      await this.close("train");
    }
    if (planned && !learner.now.updates) throw new Refused("No update had a finite loss; the state is as it was before");
    this.valuesBefore = this.values;
    this.values = learner.now.values;
    this.step += Math.max(learner.now.updates, 1);
    this.examples = examples.length;
    return { losses, stopped: false, updates: learner.now.updates, undone: learner.undone };
  }

  // The state as a file that `edge-adapt state import` reads.
  async stateFile() {
    const { model, method, manifest_sha256: bundle, state } = this.manifest;
    const told = { bundle, fingerprint: model.fingerprint, labels: JSON.stringify(this.labels), method, model: model.name,
                   start_sha256: await stateDigest(this.start), state_sha256: await stateDigest(this.values),
                   step: String(this.step) };
    if (this.examples !== null) told.examples = String(this.examples);
    return writeTensors(new Map(state.map(({ name }) => [name, this.values.get(name)])), told);
  }

  // Makes the state in a file current, as `edge-adapt state export` or `stateFile` wrote it. Training starts from it.
  async importState(bytes, file) {
    const { told, tensors } = readTensors(bytes, file);
    if (told.bundle !== this.manifest.manifest_sha256)
      throw new Refused(`${file} is a state of another bundle (${told.model ?? "unknown"}, ${told.method ?? "unknown"})`);
    const problem = misfit(this.manifest, tensors);
    if (problem) throw new Refused(`${file} holds no state of this bundle: ${problem}`);
    let labels;
    try {
      labels = JSON.parse(told.labels);
    } catch {
      labels = null;
    }
    const known = this.manifest.labels.length;
    const names = Array.isArray(labels) && labels.every((label) => typeof label === "string");
    const same = names && JSON.stringify(labels.slice(0, known)) === JSON.stringify(this.manifest.labels);
    if (!same || !/^\d{1,15}$/.test(told.step))
      throw new Refused(`${file} is damaged: its labels or its number of updates are not those of a state`);
    if (labels.length > known + this.manifest.reserved_classes)
      throw new Refused(`${file} is damaged: it has more labels than the head has rows`);
    const values = new Map(this.manifest.state.map(({ name }) => [name, tensors.get(name)]));
    if (told.state_sha256 !== undefined && told.state_sha256 !== (await stateDigest(values)))
      throw new Refused(`${file} is damaged: its tensors are not those that were written`);
    this.valuesBefore = this.values;
    this.values = this.start = values;
    this.step = Number(told.step);
    this.taught = labels.slice(known);
    this.examples = /^\d{1,15}$/.test(told.examples) ? Number(told.examples) : null;
  }

  classOf(label) {
    const found = this.labels.indexOf(label);
    if (found < 0) throw new Refused(`The label ${JSON.stringify(label)} is none of ${this.labels.join(", ")}`);
    return found;
  }

  async headAtMeans(encoded, labels) {
    const batch = Math.min(EVALUATION_BATCH, this.manifest.recipe.batch_size);
    const { data, width } = await this.outputs(this.values, encoded, "features", batch);
    const classes = this.labels.length;
    const head = classMeanHead(data, labels, classes, width, this.manifest.recipe.head_margin);
    const values = new Map(this.values);
    for (const [name, part] of [[HEAD[0], head.weight], [HEAD[1], head.bias]]) {
      const { shape, data: old } = values.get(name);
      const filled = old.slice(); // rows of classes that are not taught stay
      filled.set(part);
      values.set(name, { shape, data: filled });
    }
    return values;
  }

  // An output of the inference graph for each text, in batches of similar length: all rows in one array, and by row.
  async outputs(values, encoded, name, size) {
    const order = byLength(encoded);
    let data, width;
    for (let start = 0; start < order.length; start += size) {
      const rows = order.slice(start, start + size);
      const inputs = this.encoder.batch(rows.map((row) => encoded[row]), this.ort.Tensor);
      const found = await this.run("infer", inputs, values, [name]);
      width = found[name].dims[1];
      data ??= new Float32Array(encoded.length * width);
      rows.forEach((row, k) => data.set(found[name].data.subarray(k * width, (k + 1) * width), row * width));
    }
    if (!data.every(Number.isFinite)) throw new Refused("The model's outputs are not finite: the state is ruined; reset it");
    return { data, width, rows: encoded.map((_, row) => data.subarray(row * width, (row + 1) * width)) };
  }

  async lossAndGradients(values, encoded, labels, rows) {
    const { Tensor } = this.ort;
    const inputs = this.encoder.batch(rows.map((row) => encoded[row]), Tensor);
    inputs.labels = new Tensor("int64", BigInt64Array.from(rows, (row) => BigInt(labels[row])), [rows.length]);
    const trained = trainedNames(this.manifest);
    const found = await this.run("train", inputs, values, ["loss", ...trained.map((name) => `grad/${name}`)]);
    const gradients = new Map(trained.map((name) => [name, found[`grad/${name}`].data]));
    return { loss: found.loss.data[0], gradients };
  }

  headLossAndGradients(values, features, labels, rows) {
    const [weight, bias] = HEAD.map((name) => values.get(name).data);
    const [mine, classes] = [features, labels].map((list) => rows.map((row) => list[row]));
    const { loss, byWeight, byBias } = headLossAndGradients(mine, classes, weight, bias);
    const trained = trainedNames(this.manifest);
    return { loss, gradients: new Map([[HEAD[0], byWeight], [HEAD[1], byBias]].filter(([name]) => trained.includes(name))) };
  }

  async run(graph, inputs, values, outputs) {
    if (!this.sessions.has(graph)) this.sessions.set(graph, await this.openGraph(graph));
    const session = this.sessions.get(graph);
    const feeds = { ...inputs };
    for (const [name, { shape, data }] of values)
      if (session.inputNames.includes(name)) feeds[name] = new this.ort.Tensor("float32", data, shape);
    return session.run(feeds, outputs);
  }

  async openGraph(graph) {
    const { file, session } = this.manifest.graphs[graph];
    const names = new Set(this.manifest.state.map(({ name }) => name));
    const extra = {};
    for (const [key, value] of Object.entries(session.config)) {
      const parts = key.split(".");
      let place = extra;
      for (const part of parts.slice(0, -1)) place = place[part] ??= {};
      place[parts.at(-1)] = value;
    }
    return this.ort.InferenceSession.create(withoutDefaults(this.files.get(file), names), {
      executionProviders: ["wasm"],
      externalData: weightFiles(this.manifest).map((name) => ({ path: name, data: this.files.get(name) })),
      enableCpuMemArena: session.arena ?? true,
      enableMemPattern: session.memory_pattern ?? true,
      logSeverityLevel: 4,
      extra,
    });
  }

  async close(graph) {
    await this.sessions.get(graph)?.release();
    this.sessions.delete(graph);
  }
}

// Places of the texts, the shortest first.
function byLength(encoded) {
  return [...encoded.keys()].sort((one, other) => encoded[one].length - encoded[other].length);
}

// A list in parts of a size; `even`: the parts differ by one at most, instead of a smaller last one.
function parts(list, size, even) {
  const count = Math.ceil(list.length / size);
  const longer = even ? list.length % count : 0; // so many parts have one more than the others
  const found = [];
  for (let start = 0; start < list.length; ) {
    const end = start + (even ? Math.floor(list.length / count) + (found.length < longer) : size);
    found.push(list.slice(start, end));
    start = end;
  }
  return found;
}
