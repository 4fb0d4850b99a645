"""The page of the methods: `python -m edge_adapt.methods.docs` prints `docs/methods.md`."""

import inspect
import sys

from ..workloads.named_shapes import load_shape
from . import METHODS
from .recipes import KEYS, Recipe
from .spec import Method
from .training import zeroth
from .training.optimisers.mezo import Mezo
from .training.strategies import known

MODELS = {
    "text": ("minilm", "bert-base-uncased", "bert-large-cased"), "image": ("vit-s", "vit-base-patch16-224")
}  # fmt: skip

_INTRODUCTION = """# Methods

What each method trains, where it lives, how far its gradient travels and how many numbers it has. Made from the code by
`python -m edge_adapt.methods.docs > docs/methods.md`; a test keeps the two in step.

Counts are those of a method's default options, without the classifier head; pools have 6 modules of rank 16.
`edge-adapt methods count` takes other models, ranks, pools and numbers of tokens.

Placements: *DIGITAL* is SRAM, no cell is written; *NVM_TASK* cells are written once a task, *NVM_STEP* cells at every
step; whatever a method keeps in cells beside that is programmed once. Gradient: *NONE* forward passes only, *SIDE* it
stays in a network beside the backbone, whose hidden states are stored, *THROUGH* the frozen backbone (transposed
reads), *FULL* also the backbone's weight gradients. Trained by `mezo`, or by `interpolation` where few numbers move,
every method needs forward passes only.

What was measured and simulated with them is in [results.md](results.md).

Every method takes `warm_start`, a file with the state to start from (Song et al., PVP, arXiv:2304.13639).
"""

_TRAINING = """
## Training strategies

A recipe is an objective, a sampler, an optimiser and hooks, each chosen by its name and each for every method:
`--set NAME.recipe.objective=label-smoothing --set NAME.recipe.smoothing=0.2`, or without `NAME.` for all methods.
`edge-adapt simulate`, `compare` and `count` take all of them. A bundle holds the first of each kind and refuses the
others by name; its optimiser is chosen on the device (`edge-adapt train --optimizer`). Hooks have no default.
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
"""


def markdown() -> str:
    """The text of `docs/methods.md`."""
    sections = "".join(_section(METHODS[name]) for name in sorted(METHODS))
    return _INTRODUCTION + _training() + _forward_only() + sections


def _training() -> str:
    """Every strategy under its kind, the usual one first."""
    parts = [_TRAINING]
    for kind, key in KEYS.items():
        usual = getattr(Recipe, key)
        for name, strategy in sorted(known(kind).items(), key=lambda entry: (type(usual) is not entry[1], entry[0])):
            module = inspect.cleandoc(sys.modules[strategy.__module__].__doc__ or "")
            if name != Mezo.name:  # has a section of its own
                options = _paragraphs(inspect.cleandoc(strategy.__doc__ or ""))
                parts.append(f"\n### {kind} `{name}`\n\n{_paragraphs(module)}\n\n*Options.* {options}\n")
    return "".join(parts)


def _forward_only() -> str:
    options = inspect.cleandoc(Mezo.__doc__ or "").partition("\n\n")[2]
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
    found = f"[searched for](../benchmarks/results/{method.searched})" if method.searched else "not searched for"
    return "\n".join(
        [
            f"\n## {method.name}\n",
            _paragraphs(module),
            "",
            f"*Details.* {_paragraphs(inspect.cleandoc(type(method).__doc__ or ''))}",
            "",
            f"*For* {' and '.join(f'{kind}s' for kind in method.kinds)}; *placements* {placements}; "
            f"*gradient* {method.gradient}"
            + (f"; *recipe* {found}" if method.recipe.learning_rates else "")
            + f". *Source:* {method.source}.",
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
