"""The tables of the page about choosing a method: `python -m edge_adapt.methods.choosing docs/choosing.md` fills them.

All figures are counted from plans, with the default options of each method, without its classifier head.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from ..workloads.named_shapes import load_shape
from ..workloads.shapes import ModelShape
from . import METHODS
from .placement import BackwardNeed, Placement
from .plan import Plan
from .spec import Method, changes_for_bundles, fits_bundles

MODELS = {"text": "minilm", "image": "vit-s"}
TOKENS = 64
"""Tokens of an example that products, and what is kept, are counted for; what a method adds counts on top."""

_HEADERS = (
    "method", "for", "trained numbers", "weights written", "state, kB", "kept for the gradient, kB a token",
    "products of an answer", "transposed products", "bundle",
)  # fmt: skip

_WRITTEN = {
    "none": "no cell is written",
    "task": "cells are written once for a task",
    "step": "cells are rewritten at every step",
}
_PLACES = {Placement.NVM_TASK: "task", Placement.NVM_STEP: "step"}


def tables() -> dict[str, str]:
    """Every table by the name of its region: what may be written, then how far a gradient may go."""
    found: dict[str, list[str]] = {}
    for method in METHODS.values():
        if not method.recipe.learning_rates:
            continue
        for placement in method.placements:
            written = "none" if not _plan(method, placement).rewritten else _PLACES[placement]
            found.setdefault(f"{written}-{_reach(method)}", []).append(_row(method, placement))
    heads = "\n".join(("| " + " | ".join(_HEADERS) + " |", "|" + "---|" * len(_HEADERS)))
    return {name: "\n".join((heads, *sorted(rows))) for name, rows in found.items()}


def filled(text: str) -> str:
    """A page with its tables filled in.

    Raises:
        ValueError: a region that there is no table for, or a table without a region.
    """
    made = tables()
    regions = re.findall(r"<!-- begin: ([\w-]+) -->", text)
    if sorted(regions) != sorted(made):
        raise ValueError(f"the page has the tables {sorted(regions)}; there are {sorted(made)}")
    for name, table in made.items():
        start, end = f"<!-- begin: {name} -->\n", f"<!-- end: {name} -->"
        before, _, rest = text.partition(start)
        _, _, after = rest.partition(end)
        text = f"{before}{start}{table}\n{end}{after}"
    return text


def _shape(method: Method) -> ModelShape:
    return load_shape(MODELS[method.kinds[0]])


def _plan(method: Method, placement: Placement) -> Plan:
    return method.plan(_shape(method), placement=placement)


def _reach(method: Method) -> str:
    """How far a gradient goes, in a word: forward passes alone, in a network beside the backbone, through it."""
    return {BackwardNeed.NONE: "forward", BackwardNeed.SIDE: "side"}.get(method.gradient, "through")


def _row(method: Method, placement: Placement) -> str:
    shape, plan = _shape(method), _plan(method, placement)
    backbone = sum(linear.out_features * linear.in_features for linear in shape.linears) * shape.runs
    longer = (TOKENS + plan.extra_tokens) / TOKENS / backbone
    written = sum(plan.tensors[name].numbers for name in plan.rewritten)
    passed = plan.gradient is not BackwardNeed.NONE
    kept = plan.kept_outputs + plan.kept_once / TOKENS
    in_bundle = placement is Placement.DIGITAL and fits_bundles(method)
    instead = ", ".join(f"`recipe.{key}={name}`" for key, name in changes_for_bundles(method).items())
    cells = (
        f"[{method.name}](methods.md#{method.name.replace('+', '')})",
        " and ".join(f"{kind}s" for kind in method.kinds),
        f"{sum(plan.trained_by_group.values()):,}",
        f"{written:,}" if written else "0",
        f"{plan.state_bytes / 1000:,.{0 if plan.state_bytes >= 100_000 else 1}f}",
        f"{4 * kept / 1000:,.0f}" if passed and kept else "0",
        f"{longer * sum(_weights(plan, plan.read)):.2f} x",
        f"{longer * sum(_weights(plan, plan.transposed)):.2f} x" if passed and plan.transposed else "none",
        "no" if not in_bundle else f"with {instead}" if instead else "yes",
    )
    return "| " + " | ".join(cells) + " |"


def _weights(plan: Plan, names: tuple[str, ...]) -> Iterator[int]:
    return (plan.tensors[name].numbers for name in names)


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
