// One update at a time, as docs/bundle.md has it: L1, clipping, AdamW, and the undoing of updates that led to a loss that
// is no number. Tensors are {shape, data} in maps by name; nothing is changed in place.
import { Refused } from "./errors.mjs";

const BETA_1 = 0.9;
const BETA_2 = 0.999;
const EPSILON = 1e-8;
const MOST_UNDONE = 10;

export class Learner {
  // `lossAndGradients(values, batch)` gives {loss, gradients: Map of name -> Float32Array}.
  constructor(manifest, values, lossAndGradients) {
    this.recipe = manifest.recipe;
    this.l1Names = manifest.l1_names;
    this.rates = new Map();
    for (const { name, group } of manifest.state)
      if (group !== null) this.rates.set(name, manifest.recipe.learning_rates[group]);
    this.lossAndGradients = lossAndGradients;
    this.now = { values, updates: 0, first: new Map(), second: new Map() };
    this.before = null;
    this.halved = 1;
    this.undone = 0;
  }

  // One update at `factor` times the rates; the loss before it, or NaN where the update before had to be undone.
  async step(batch, factor) {
    const found = await this.lossAndGradients(this.now.values, batch);
    const loss = found.loss + this.addL1(found.gradients);
    const next = Number.isFinite(loss) && finite(found.gradients) ? this.updated(found.gradients, factor * this.halved) : null;
    if (!next || !finite(next.trained)) {
      this.undo();
      return NaN;
    }
    this.before = this.now;
    this.now = next;
    return loss;
  }

  // Undo the last update if the loss of a batch is not finite after it.
  async settle(batch) {
    if (!this.before) return;
    const { loss } = await this.lossAndGradients(this.now.values, batch);
    if (!Number.isFinite(loss)) this.undo();
  }

  undo() {
    this.undone++;
    this.halved /= 2;
    if (this.before) this.now = this.before;
    this.before = null;
    if (this.undone >= MOST_UNDONE)
      throw new Refused(`The loss was not finite ${MOST_UNDONE} times; the state is as it was before: check the examples`);
  }

  // Adds the pull of L1 to the gradients; returns what it adds to the loss.
  addL1(gradients) {
    const tensors = this.l1Names.map((name) => [name, this.now.values.get(name).data]);
    const count = tensors.reduce((sum, [, data]) => sum + data.length, 0);
    if (!count || !this.recipe.l1) return 0;
    const pull = Math.fround(this.recipe.l1 / count);
    let total = 0;
    for (const [name, data] of tensors) {
      for (const value of data) total += Math.abs(value);
      const gradient = gradients.get(name);
      if (gradient) gradients.set(name, gradient.map((g, k) => g + pull * Math.sign(data[k])));
    }
    return (this.recipe.l1 * total) / count;
  }

  updated(gradients, factor) {
    let squares = 0;
    for (const gradient of gradients.values()) for (const g of gradient) squares += g * g;
    const clip = Math.fround(Math.min(1, this.recipe.clip_norm / (Math.sqrt(squares) + 1e-6)));
    const updates = this.now.updates + 1;
    const correction1 = 1 - BETA_1 ** updates;
    const correction2 = Math.sqrt(1 - BETA_2 ** updates);
    const [values, trained, first, second] = [new Map(this.now.values), new Map(), new Map(), new Map()];
    for (const [name, gradient] of gradients) {
      const { shape, data } = this.now.values.get(name);
      const rate = this.rates.get(name) * factor;
      const decay = 1 - rate * this.recipe.weight_decay;
      const oldM = this.now.first.get(name) ?? new Float32Array(data.length);
      const oldV = this.now.second.get(name) ?? new Float32Array(data.length);
      const m = oldM.map((old, k) => old + (1 - BETA_1) * (clip * gradient[k] - old));
      const v = oldV.map((old, k) => BETA_2 * old + (1 - BETA_2) * (clip * gradient[k]) ** 2);
      const x = data.map(
        (old, k) => old * decay - ((rate / correction1) * m[k]) / (Math.sqrt(v[k]) / correction2 + EPSILON),
      );
      values.set(name, { shape, data: x });
      trained.set(name, x);
      first.set(name, m);
      second.set(name, v);
    }
    return { values, trained, updates, first, second };
  }
}

function finite(arrays) {
  for (const array of arrays.values()) if (!array.every(Number.isFinite)) return false;
  return true;
}
