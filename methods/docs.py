"""The page of the methods: `python -m edge_adapt.methods.docs` prints `docs/methods.md`."""

import inspect
import sys

from ..workloads.shapes import load_shape
from . import METHODS, zeroth
from .base import Method

MODELS = {
    "text": ("minilm", "bert-base-uncased", "bert-large-cased"), "image": ("vit-s", "vit-base-patch16-224")
}  # fmt: skip

_INTRODUCTION = """# Methods

What each method trains, where it lives, how far its gradient travels and how many numbers it has. Made from the code by
`python -m edge_adapt.methods.docs > docs/methods.md`; a test keeps the two in step.

Counts are those of a method's default options, without the classifier head; pools have 6 modules of rank 16.
`edge-adapt methods count` takes other models, ranks, pools and numbers of tokens.

Placements: *DIGITAL* is SRAM, no cell is written; *NVM_TASK* cells are written once a task, *NVM_STEP* cells at every
step; whatever a method keeps in cells beside that is programmed once. Gradient: *NONE* forward passes only, *THROUGH*
the frozen backbone (transposed reads), *FULL* also the backbone's weight gradients. Trained by a zeroth-order recipe
(`mezo`), every method needs forward passes only.

Every method takes `warm_start`, a file with the state to start from (Song et al., PVP, arXiv:2304.13639).
"""


_FORWARD_ONLY = """
## Forward passes alone: `mezo`

`edge-adapt simulate --method NAME --set NAME.recipe.optimiser=mezo` trains any method, under any placement, without a
backward pass; `--set NAME.recipe.OPTION=VALUE` sets the options below (`sgd` and `adamw` are the other optimisers).

{module}

*Options.*{options}

*Counted*: 2 forward passes a direction (one-sided 1, and 1 for the step; conservative 3 more a step), no transposed
read, no array that can be read transposed, no activation kept. What is held digitally costs no cell write; NVM_STEP
rewrites its cells 3 q + 1 times a step of q directions. Cells have no forward gradient: that estimate is for exact
weights. Groups with a rate of 0 are not moved.

*LoRAFusion by MeZO* moves its 36 coefficients alone (magnitudes and head stay as they start), 80 pairs at 100 shots.
MiniLM, `movie`, exact weights, 400 test examples, seeds 0 to 2 (benchmarks/results: mezo.json,
movie_first.json, by the recipe that LoRAFusion had then, with a head's rate of 0.003 from a margin of 1):
`python benchmarks/accuracy.py --shots 100 --methods "lorafusion:recipe.epochs=0;lorafusion;lorafusion@mezo" --out F`

| LoRAFusion, 100 shots | trained numbers | accuracy |
|---|---|---|
| start: pool fused evenly, class-mean head, no training | 0 | 76.8 % |
| by gradients, 40 steps | 4,644 + head | 75.7 % |
| by MeZO, 80 forward pairs | 36 | 75.3 % |

From the shipped start MeZO is within 0.4 points of gradients, but no training at all does better than both: neither
gains anything on this task. From a start that is poor on purpose (`initial=0.5`, same seeds: 70.3 %) gradients reach
74.8 % and MeZO 72.5 % (77.0, 68.3 and 72.3): it goes half the way, and one seed of three gets worse. On `amazon` and
`nyt` (one draw each, the one the recipe was tried on, own modules left out of the pool) it goes to 84.8 % and 83.0 %
from there, where gradients from the good start reach 83.8 % and 84.0 %.

It writes no cell, reads no array transposed and keeps no activation, but it is not the cheapest: energy follows the
passes. Simulated on `reram` (BERT-tiny, 100 shots): 9.4 mJ for 80 pairs, 6.3 mJ for 40 gradient steps, 0.26 mJ for the
class-mean head of `frozen` (`edge-adapt simulate --model bert-tiny --method lorafusion frozen --shots 100 --set
lorafusion.recipe.optimiser=mezo`). Up to about 50 pairs it costs less than the gradient steps.
"""

_AFTER_DRIFT = """
## After drift

Cells relax and drift; a state that is held digitally can be adapted again on what the cells hold by then, without a
write. Simulated, MiniLM, `movie`, 200 test examples (`edge-adapt simulate --method lorafusion --seeds 5`, and `--method
lorafusion pasta --seeds 3` with `--device pcm` and `--device pcm-compensated`; recorded in
benchmarks/results/drift_recovery.json, drawn by `python examples/plot_drift_recovery.py`), means over seeds with the
standard errors of the differences in points:

| chip | method, shots | seeds | adapted | 30 days later | adapted again | lost | won back |
|---|---|---|---|---|---|---|---|
| `reram` | LoRAFusion, 100 | 5 | 71.9 % | 70.9 % | 72.0 % | 1.0 ± 1.3 | 1.1 ± 1.0 |
| `reram` | LoRAFusion, 400 | 3 | 74.8 % | 73.3 % | 75.2 % | 1.5 ± 2.5 | 1.8 ± 0.2 |
| `pcm` | LoRAFusion, 100 | 3 | 73.0 % | 56.8 % | 63.2 % | 16.2 ± 1.9 | 6.3 ± 1.7 |
| `pcm` | PASTA, 100 | 3 | 71.7 % | 62.2 % | 63.0 % | 9.5 ± 2.6 | 0.8 ± 2.7 |
| `pcm-compensated` | LoRAFusion, 100 | 3 | 73.0 % | 73.7 % | 72.5 % | -0.7 ± 0.8 | -1.2 ± 0.7 |
| `pcm-compensated` | PASTA, 100 | 3 | 71.7 % | 70.2 % | 70.7 % | 1.5 ± 1.5 | 0.5 ± 0.8 |

`reram` loses little, no more than the standard error: its tables end after two days and the last value is held. `pcm`
loses much, for every conductance falls by a factor, and of that half as many epochs as the first time bring back four
tenths with LoRAFusion and next to nothing with PASTA; a likely reason: magnitudes scale queries and values alone,
all other matrices stay too small.

`pcm-compensated` is the same chip, with the same cells, and drift compensation (docs/simulator.md): a digital factor
for each matrix, found from calibration reads after an hour, a day and 30 days. Of the 16.2 points that LoRAFusion loses
on `pcm` the factors alone give back 16.8, with adapting again 15.7; of PASTA's 9.5 they give back 8.0 and 8.5. It is
the calibration that does it: adapting again adds nothing that these seeds show. It takes 0.18 mJ for all matrices,
adapting LoRAFusion again 74 mJ.

![accuracy after drift](figures/drift-recovery.png)
"""


def markdown() -> str:
    """The text of `docs/methods.md`."""
    sections = "".join(_section(METHODS[name]) for name in sorted(METHODS))
    return _INTRODUCTION + _forward_only() + _AFTER_DRIFT + sections


def _forward_only() -> str:
    options = inspect.cleandoc(zeroth.ZerothRecipe.__doc__ or "").partition("\n\n")[2]
    listed = "\n".join(f"- {line}" if line and not line.startswith(" ") else line for line in options.split("\n"))
    return _FORWARD_ONLY.format(module=_paragraphs(inspect.cleandoc(zeroth.__doc__ or "")), options=f"\n\n{listed}")


def _section(method: Method) -> str:
    module = inspect.cleandoc(sys.modules[type(method).__module__].__doc__ or "")
    counts = []
    for model in (model for kind in method.kinds for model in MODELS[kind]):
        count = method.count(load_shape(model), rank=getattr(method, "rank", 16))
        parts = ", ".join(f"{kind} {number:,}" for kind, number in count.trained.items())
        counts.append(f"| {model} | {count.trained_parameters:,} | {parts or '–'} | {count.cells_frozen:,} |")
    placements = ", ".join(method.placements)
    return "\n".join(
        [
            f"\n## {method.name}\n",
            _paragraphs(module),
            "",
            f"*Details.* {_paragraphs(inspect.cleandoc(type(method).__doc__ or ''))}",
            "",
            f"*For* {' and '.join(f'{kind}s' for kind in method.kinds)}; *placements* {placements}; "
            f"*gradient* {method.backward_need}. *Source:* {method.source}.",
            "",
            "| Model | Trained | Of these | Weights programmed once beside the model's |",
            "|---|---|---|---|",
            *counts,
            "",
        ]
    )


def _paragraphs(text: str) -> str:
    """Docstring as markdown: indented lines are equations, kept as they are."""
    return "\n".join(line if line.startswith("    ") else line.replace("*", "\\*") for line in text.split("\n"))


if __name__ == "__main__":
    print(markdown(), end="")
