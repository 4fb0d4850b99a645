// The picture of a falling loss.

const LEFT = 44, RIGHT = 546, TOP = 16, BOTTOM = 180;

// Draws the losses of the updates so far, of so many planned, into the page's SVG.
export function drawLoss(losses, planned) {
  const points = losses.map((loss, k) => [k, loss]).filter(([, loss]) => Number.isFinite(loss));
  const step = tick(Math.max(1e-6, ...points.map(([, loss]) => loss)));
  const most = step * Math.ceil(Math.max(1e-6, ...points.map(([, loss]) => loss)) / step);
  const x = (k) => LEFT + ((RIGHT - LEFT) * k) / Math.max(planned - 1, 1);
  const y = (loss) => BOTTOM - ((BOTTOM - TOP) * loss) / most;
  const grid = [];
  for (let k = 0; k * step <= most + 1e-9; k++) {
    const level = y(k * step).toFixed(1);
    const label = String(Number((k * step).toPrecision(3)));
    grid.push(`<line x1="${LEFT}" x2="${RIGHT}" y1="${level}" y2="${level}"/>`);
    grid.push(`<text x="${LEFT - 7}" y="${Number(level) + 4}" text-anchor="end">${label}</text>`);
  }
  grid.push(`<text x="${LEFT}" y="203">update 1</text><text x="${RIGHT}" y="203" text-anchor="end">${planned}</text>`);
  const at = (id) => document.getElementById(id);
  at("grid").innerHTML = grid.join("");
  if (!points.length) return;
  const line = points.map(([k, loss]) => `${x(k).toFixed(1)},${y(loss).toFixed(1)}`);
  const [lastX, lastY] = line.at(-1).split(",").map(Number);
  at("line").setAttribute("points", line.join(" "));
  at("area").setAttribute("d", `M${x(points[0][0])},${BOTTOM} L${line.join(" L")} L${lastX},${BOTTOM} Z`);
  at("dot").setAttribute("cx", lastX);
  at("dot").setAttribute("cy", lastY);
  at("last").textContent = `loss ${Number(points.at(-1)[1].toPrecision(3))}`;
  at("last").setAttribute("text-anchor", lastX > (LEFT + RIGHT) / 2 ? "end" : "start");
  at("last").setAttribute("x", lastX);
  at("last").setAttribute("y", Math.max(lastY - 12, TOP));
}

// A round step for two to five lines up to the largest value.
function tick(largest) {
  const power = 10 ** Math.floor(Math.log10(largest));
  return [0.5, 1, 2].map((factor) => factor * power).find((step) => largest / step <= 5) ?? 2 * power;
}
