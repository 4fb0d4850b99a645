"""Weight error of seven scales a column against a finer grid, and against none cut: is the best of seven good enough?

python benchmarks/run.py scales
"""

import numpy as np
from edge_adapt import load_chip
from edge_adapt.simulator import mapping, program
from edge_adapt.workloads.models import load_backbone
from measure import publish

DEVICE, MODEL, MATRICES, SEED = "reram", "minilm", 12, 0
LIMIT = (
    f"root mean square of held - wanted over that of wanted, the first {MATRICES} matrices of {MODEL}, {DEVICE}, chip "
    f"seed {SEED}; simulated"
)
GRIDS = {
    "the largest weight": (1.0,),
    "best of seven": mapping.CLIPPING,
    "best of 29": tuple(np.round(np.arange(1.0, 0.29, -0.025), 3).tolist()),
}


def run(quick: bool) -> None:
    """One row for each set of scales."""
    backbone = load_backbone("bert-tiny" if quick else MODEL)
    linears = dict(backbone.module.named_modules())
    weights = {name: linears[name].weight.detach().numpy() for name in backbone.linear_names()[:MATRICES]}
    rows, shipped = [], mapping.CLIPPING
    try:
        for what, grid in GRIDS.items():
            mapping.CLIPPING = grid
            model = program(load_chip(DEVICE), weights, np.random.default_rng(SEED))
            row = {"what": what, "scales": len(grid), "label": "simulated"}
            for name, seconds in (("programmed", 0.0), ("after_30_days", 30 * 86400.0)):
                model.set_time(seconds)
                held = {n: model.effective_weight(n) for n in weights}
                wrong = sum(float(((held[n] - w) ** 2).sum()) for n, w in weights.items())
                row[f"rms_error_{name}"] = (wrong / sum(float((w**2).sum()) for w in weights.values())) ** 0.5
            rows.append(row)
    finally:
        mapping.CLIPPING = shipped
    publish("scales", LIMIT, rows, quick)
