// The classifier head: its start at class means, and probabilities.

// {weight, bias} as docs/bundle.md has them, from features (n, width) and the classes of the examples.
export function classMeanHead(features, labels, classes, width, margin) {
  const counts = new Array(classes).fill(0);
  const means = Array.from({ length: classes }, () => new Float64Array(width));
  labels.forEach((label, row) => {
    counts[label]++;
    for (let k = 0; k < width; k++) means[label][k] += features[row * width + k];
  });
  const present = [...counts.keys()].filter((label) => counts[label]);
  const middle = new Float64Array(width);
  for (const label of present)
    for (let k = 0; k < width; k++) middle[k] += (means[label][k] /= counts[label]) / present.length;
  const weight = means.map((mean, label) => mean.map((value, k) => (counts[label] ? value - middle[k] : 0)));
  const bias = means.map((mean) => -0.5 * dot(mean, mean));
  const lowest = Math.min(...present.map((label) => bias[label]));
  const mean = present.reduce((sum, label) => sum + bias[label], 0) / present.length;
  for (let label = 0; label < classes; label++) bias[label] = (counts[label] ? bias[label] : lowest) - mean;
  let margins = 0;
  labels.forEach((label, row) => {
    const example = features.subarray(row * width, (row + 1) * width);
    const logits = weight.map((line, other) => dot(line, example) + bias[other]);
    margins += logits[label] - Math.max(...logits.filter((_, other) => other !== label));
  });
  const scale = margins > 0 ? (margin * labels.length) / margins : 1;
  return { weight: Float32Array.from(weight.flatMap((line) => [...line]), (value) => scale * value),
           bias: Float32Array.from(bias, (value) => scale * value) };
}

// Mean cross entropy of a linear head on features (rows), and its gradients by weight and bias.
export function headLossAndGradients(features, labels, weight, bias) {
  const width = features[0].length;
  const byWeight = new Float32Array(weight.length);
  const byBias = new Float32Array(bias.length);
  let loss = 0;
  features.forEach((example, row) => {
    const logits = Array.from(bias, (value, label) => value + dot(example, weight.subarray(label * width, (label + 1) * width)));
    const most = Math.max(...logits);
    loss += (most - logits[labels[row]] + Math.log(logits.reduce((sum, x) => sum + Math.exp(x - most), 0))) / labels.length;
    softmax(logits).forEach((share, label) => {
      const error = (share - (label === labels[row])) / labels.length;
      byBias[label] += error;
      for (let k = 0; k < width; k++) byWeight[label * width + k] += error * example[k];
    });
  });
  return { loss, byWeight, byBias };
}

// Probabilities of one row of logits.
export function softmax(logits) {
  const most = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - most));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

function dot(one, other) {
  let sum = 0;
  for (let k = 0; k < one.length; k++) sum += one[k] * other[k];
  return sum;
}
