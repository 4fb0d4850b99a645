"""How long the parts of a simulation are expected to take, for its progress: rough to begin with, corrected as it runs.

The unit of training and testing is one example read forward through the chip. What one takes goes with the weights and
the tokens of an example.
"""

from collections.abc import Mapping

from ..methods import Placement
from ..methods.placement import BackwardNeed
from ..methods.recipes import Recipe
from ..workloads.task import VALIDATION_SHARE
from .progress import Work
from .variants import Variant
from .workbench import Workbench

PROGRAMMING, WIRES, TRAINING, TESTING, EXACT = "programming", "wires", "training", "testing", "exact weights"

# For all-MiniLM-L6-v2 on one thread, so that the job of 32 shots comes out at about the two minutes that it takes on
# two cores. Other models and processors differ by some factor, which the progress finds out.
_PROGRAM_SECONDS = 4e-7  # a weight
_WIRES_SECONDS = 0.05  # an array
_READ_SECONDS = 4e-11  # a weight and token, on the chip
_LEAST_READ_SECONDS = 1e-3  # an example, of however small a model
_EXACT_SHARE = 0.25  # of that, with exact weights
_STEP_READS = 4.0  # forward, back, and what follows a step, for each example
_REWRITE_READS = 4.0  # more where cells are rewritten after every step


def _trained_on(shots: int) -> int:
    return shots - max(1, round(VALIDATION_SHARE * shots))


def steps(recipe: Recipe, shots: int) -> int:
    """Optimiser steps of one adaptation."""
    return max(1, recipe.schedule(_trained_on(shots)).steps)


def training(variant: Variant, recipe: Recipe, shots: int, twin: bool = False) -> float:
    """Reads of one adaptation. `twin`: another one's training is taken over."""
    examples = _trained_on(shots)
    if twin or variant.method.backward_need is BackwardNeed.NONE:
        return float(examples)
    optimiser = recipe.optimiser
    looks = _STEP_READS if optimiser.by_gradient else float(optimiser.passes(1))
    each = looks + (_REWRITE_READS if variant.placement is Placement.NVM_STEP else 0.0)
    schedule = recipe.schedule(examples)
    return each * schedule.epochs * schedule.rows


def testing(bench: Workbench) -> float:
    """Reads of one test."""
    return float(len(bench.test.ids))


def exact(variant: Variant, recipe: Recipe, shots: int, bench: Workbench) -> float:
    """Reads of training and testing a method with exact weights."""
    return training(variant, recipe, shots) + testing(bench)


def work(bench: Workbench, wire_units: int, parts: Mapping[str, float], jobs: int) -> Work:
    """All kinds of work of a simulation; `parts`: reads of each kind, that `jobs` processes share."""
    weights = sum(tensor.size for tensor in bench.frozen_tensors.values())
    tokens = bench.test.size().tokens / max(1, len(bench.test.ids))
    read = max(_LEAST_READ_SECONDS, _READ_SECONDS * weights * tokens) / jobs
    return {
        PROGRAMMING: (len(bench.frozen_tensors), _PROGRAM_SECONDS * weights / max(1, len(bench.frozen_tensors))),
        WIRES: (wire_units, _WIRES_SECONDS * 16),
        TRAINING: (parts.get(TRAINING, 0.0), read),
        TESTING: (parts.get(TESTING, 0.0), read),
        EXACT: (parts.get(EXACT, 0.0), read * _EXACT_SHARE),
    }
