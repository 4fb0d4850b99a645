// The page: what a person sees and does. The work is done in a worker, see worker.mjs.
import { drawLoss } from "./chart.mjs";

const COLOURS = 8;
const WORK = ["train", "ask", "save", "open", "reset"]; // buttons that ask the worker
const at = (id) => document.getElementById(id);
const given = JSON.parse(at("given").textContent);
const waiting = new Map(); // calls of the worker that are not answered yet
let worker, onUpdate, info, rounds, calls = 0, hasBefore = false;

// Files of the page by name, as base64 in parts; what was read is taken out of the page, which needs no second copy.
function embedded() {
  const files = new Map();
  for (const element of document.querySelectorAll("script[data-file]")) {
    const { file } = element.dataset;
    if (!files.has(file)) files.set(file, []);
    files.get(file).push(element.textContent);
    element.remove();
  }
  return files;
}

// The text of a file.
async function text(parts) {
  const packed = parts.map((part) => Uint8Array.from(atob(part), (letter) => letter.charCodeAt(0)));
  return new Response(new Blob(packed).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

async function start() {
  const files = embedded();
  const code = new Blob([await text(files.get("program/worker.mjs"))], { type: "text/javascript" });
  worker = new Worker(URL.createObjectURL(code));
  worker.onmessage = ({ data }) => {
    if (data.event === "stage") return say(`Opening: ${data.stage} …`);
    if (data.event === "update") return onUpdate?.(data);
    const { resolve, reject } = waiting.get(data.id);
    waiting.delete(data.id);
    if ("result" in data) resolve(data.result);
    else reject(new Error(data.refused ?? `The page failed: ${data.failed}`));
  };
  worker.onerror = (event) => {
    for (const { reject } of waiting.values()) reject(new Error(`The page failed: ${event.message ?? "no worker started"}`));
    waiting.clear();
  };
  const wasm = files.get("program/ort.wasm");
  const bundle = [...files].filter(([name]) => !name.startsWith("program/"));
  info = await call("open", { wasm, files: bundle, probes: given.probes });
  show();
}

function call(name, given) {
  const id = ++calls;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, call: name, given });
  });
}

function say(sentence, wrong = false) {
  at("status").textContent = sentence;
  at("status").className = wrong ? "wrong" : "";
}

// ---- what is shown ----

function show() {
  at("model").textContent = info.model.name;
  at("trained").textContent = info.trained.toLocaleString("en");
  rounds = at("epochs").value = String(Math.max(info.recipe.epochs, 1));
  at("facts").textContent = `${info.model.name} with ${info.method}, exported for the task ${info.task}. Texts are read up to `
    + `${info.maxTokens} tokens. ${given.versions}.`;
  for (const { text, label } of given.examples) addRow(text, label);
  if (!given.examples.length) for (const label of info.labels) addRow("", label);
  count();
  say("Ready. Every file of the bundle has the checksum that its manifest names.");
  for (const button of [...WORK, "add", "clear", "take"]) at(button).disabled = false;
}

function addRow(text, label) {
  const row = element("div", "row");
  const input = element("textarea", "text");
  input.rows = 1;
  input.value = text;
  input.placeholder = "A text";
  input.setAttribute("aria-label", "Text of an example");
  const select = element("select");
  select.setAttribute("aria-label", "Label of the example");
  offer(select, label);
  const remove = element("button", "", "✕");
  remove.type = "button";
  remove.setAttribute("aria-label", "Remove the example");
  remove.onclick = () => {
    row.remove();
    count();
  };
  input.oninput = select.onchange = count;
  row.append(input, select, remove);
  at("rows").append(row);
  return input;
}

// Lets a person choose among the labels. One that the state does not know any more stays chosen; training then says so.
function offer(select, label) {
  const names = !label || info.labels.includes(label) ? info.labels : [...info.labels, label];
  select.replaceChildren(...names.map((name) => new Option(name, name, false, name === label)));
}

// The examples that have a text.
function examples() {
  const rows = [...at("rows").children].map((row) => ({ text: row.children[0].value, label: row.children[1].value }));
  return rows.filter(({ text }) => text.trim());
}

function count() {
  for (const row of at("rows").children) colour(row.children[1], info.labels.indexOf(row.children[1].value));
  const used = examples();
  at("legend").replaceChildren(...info.labels.map((label, k) => {
    const dot = colour(element("i", "dot"), k);
    const entry = element("li");
    entry.append(dot, `${label} ${used.filter((example) => example.label === label).length}`);
    return entry;
  }));
}

function answer(text, lines) {
  const box = element("div", "answer");
  box.append(element("p", "", text));
  for (const { when, shares } of lines) {
    const line = element("div", `shares ${when}`);
    const track = element("span", "track");
    shares.forEach((share, k) => {
      const part = colour(element("i"), k);
      part.style.width = `${100 * share}%`;
      track.append(part);
    });
    const best = shares.indexOf(Math.max(...shares));
    const said = element("span", "said");
    const even = Math.max(...shares) - Math.min(...shares) < 1e-6;
    if (even) said.append("does not know");
    else said.append(element("b", "", info.labels[best]), element("span", "", `${(100 * shares[best]).toFixed(0)} %`));
    line.append(element("span", "when", when), track, said);
    box.append(line);
  }
  return box;
}

function element(kind, name = "", text = "") {
  const made = document.createElement(kind);
  if (name) made.className = name;
  if (text) made.textContent = text;
  return made;
}

function colour(target, k) {
  target.style.setProperty("--colour", `var(--class-${k % COLOURS})`);
  return target;
}

// ---- what is done ----

// Lets a button do something, alone; what is refused is said.
function does(button, work) {
  at(button).onclick = async () => {
    const buttons = WORK.map(at);
    for (const each of buttons) each.disabled = true;
    try {
      await work();
    } catch (error) {
      say(error.message, true);
    }
    for (const each of buttons) each.disabled = false;
  };
}

async function train() {
  const used = examples();
  const losses = [];
  // Where nobody changed the number, the recipe decides: few examples may need more rounds.
  const epochs = at("epochs").value === rounds ? undefined : Number(at("epochs").value);
  if (epochs !== undefined && !(Number.isInteger(epochs) && epochs >= 1)) throw new Error("The number of rounds must be 1 or more");
  say("Training: a start at the means of each label …");
  at("stop").hidden = false;
  const begun = performance.now();
  onUpdate = ({ done, planned, loss }) => {
    losses.push(loss);
    at("loss").hidden = false;
    drawLoss(losses, planned);
    at("told").textContent = `Update ${done} of ${planned}, ${((performance.now() - begun) / 1000).toFixed(1)} s.`;
    say("Training …");
  };
  try {
    const found = await call("train", { examples: used, epochs });
    if (found.stopped) return say("Stopped: the state is as it was before.");
    info = { ...info, ...found };
    hasBefore = true;
    const seconds = (performance.now() - begun) / 1000;
    at("told").textContent = `Loss of each of ${losses.length} updates on ${used.length} examples, in ${seconds.toFixed(1)} s.`;
    say(found.undone ? `Trained; ${found.undone} updates were undone, their loss was no number.` : "Trained.");
  } finally {
    onUpdate = undefined;
    at("stop").hidden = true;
  }
  await ask();
}

async function ask() {
  const texts = at("questions").value.split("\n").filter((line) => line.trim());
  if (!texts.length) return;
  const before = hasBefore ? await call("predict", { texts, before: true }) : [];
  const now = await call("predict", { texts });
  at("answers").replaceChildren(...texts.map((text, k) => {
    const lines = [{ when: "now", shares: now[k] }];
    if (hasBefore) lines.unshift({ when: "before", shares: before[k] });
    return answer(text, lines);
  }));
}

async function save() {
  const bytes = await call("stateFile");
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([bytes]));
  link.download = "state.safetensors";
  link.click();
  say(`state.safetensors was saved: ${(bytes.length / 1000).toFixed(0)} kB.`);
}

async function changed(work, sentence) {
  info = { ...info, ...(await work()) };
  hasBefore = true;
  for (const { children: [, select] } of at("rows").children) offer(select, select.value);
  count();
  say(sentence);
  await ask();
}

does("train", train);
does("ask", ask);
does("save", save);
does("reset", () => changed(() => call("reset"), "The state is the exported one again."));
at("open").onclick = () => at("file").click();
at("file").onchange = async () => {
  const [file] = at("file").files;
  try {
    const bytes = new Uint8Array(await file.arrayBuffer());
    await changed(() => call("importState", { bytes, file: file.name }), `The state of ${file.name} is the current one.`);
  } catch (error) {
    say(error.message, true);
  }
  at("file").value = "";
};
at("stop").onclick = () => worker.postMessage({ call: "stop" });
at("add").onclick = () => {
  addRow("", info.labels[at("rows").children.length % info.labels.length]).focus();
};
at("clear").onclick = () => {
  at("rows").replaceChildren();
  count();
};
at("take").onclick = () => {
  const left = [];
  for (const line of at("pasted").value.split("\n").filter((each) => each.trim())) {
    const found = divided(line.trim());
    if (found) addRow(found.text, found.label);
    else left.push(line);
  }
  at("pasted").value = left.join("\n");
  count();
  const are = left.length === 1 ? "1 line was left: it does" : `${left.length} lines were left: they do`;
  say(left.length ? `${are} not begin with ${info.labels.join(" or ")}.` : "The examples were added.", left.length > 0);
};

// Label and text of a line, with a tab or a comma between them; both may hold commas. Where more than one label fits, it
// is the longest.
function divided(line) {
  const behind = (label) => /^\s*[,\t]\s*(?=\S)/.exec(line.slice(label.length));
  const fitting = info.labels.filter((label) => line.startsWith(label) && behind(label));
  if (!fitting.length) return null;
  const label = fitting.reduce((one, other) => (other.length > one.length ? other : one));
  return { label, text: line.slice(label.length + behind(label)[0].length) };
}

// What the page can do, for a script: the tests of the project use it. `ready` tells what was opened.
const ready = start();
ready.catch((error) => say(error.message, true));
const opened = async (name, given) => (await ready, call(name, given));
window.edgeAdapt = {
  ready: ready.then(() => info),
  encode: (texts) => opened("encode", { texts }),
  predict: (texts, before = false) => opened("predict", { texts, before }),
  train: (examples, options = {}) => opened("train", { examples, ...options }),
  stateFile: () => opened("stateFile"),
  importState: (bytes, file = "state.safetensors") => opened("importState", { bytes, file }),
  reset: () => opened("reset"),
};
