"""Methods trained and tested with exact weights: the digital yardstick of a simulation."""

from dataclasses import dataclass

import numpy as np
import torch

from ..methods import Adaptation, Placement
from ..methods.training.trainer import extract_features, train
from ..simulator.autograd import ExactReader
from ..workloads.task import Example
from .encoding import Encoded, Graded
from .pool_check import folds
from .variants import Variant
from .workbench import Workbench


@dataclass
class ExactResult:
    """A method trained and tested with exact weights: the digital yardstick."""

    test: Graded
    held_out: Graded


def run_exact(
    bench: Workbench, variant: Variant, data: Encoded, test: Encoded, held_out: Encoded, shots: int, seed: int
) -> ExactResult:
    """Train and test a method without any chip; same initial values and, in torch, order of examples as on the
    chip.
    """
    rng = np.random.default_rng([seed, shots])
    in_bundle = bench.config.trainer == "onnxruntime" and Placement.DIGITAL in variant.method.placements
    placement = Placement.DIGITAL if in_bundle else variant.placement
    adaptation = variant.method.attach(bench.backbone, bench.classes, rng, placement=placement, pool=bench.pool)
    if in_bundle:
        from .in_bundle import answers_of_bundle  # onnx takes a second to import

        answers = answers_of_bundle(bench, variant, adaptation, data, seed, {"test": test, "held": held_out})
        return ExactResult(*(
            asked.grade_in_order(bench.task, answers[name]) for name, asked in (("test", test), ("held", held_out))
        ))  # fmt: skip
    reader = ExactReader()
    adaptation.use(reader)
    reader.watch(adaptation.module.encoder)
    if adaptation.module.side is not None:
        reader.watch(adaptation.module.side)
    train(adaptation, data.ids, data.labels, rng)
    return test_exactly(adaptation, bench, test, held_out)


def test_exactly(adaptation: Adaptation, bench: Workbench, test: Encoded, held_out: Encoded) -> ExactResult:
    """Test a method that reads exact weights."""
    graded = []
    with torch.no_grad():
        for examples in (test, held_out):
            features, labels = extract_features(adaptation, examples.ids, examples.labels)
            answers = adaptation.module.head(features).argmax(1)
            graded.append(examples.grade(bench.task, answers.numpy(), labels.numpy()))
    return ExactResult(*graded)


def cross_validated(
    bench: Workbench, variant: Variant, examples: tuple[Example, ...], shots: int, seed: int
) -> str | None:
    """Right answers ("0110") to all labelled examples, each of a training with exact weights that did not see it."""
    right = [""] * len(examples)
    for held in folds([example.label for example in examples], bench.config.check_pool):
        out = set(held.tolist())
        data = bench.encode(tuple(example for n, example in enumerate(examples) if n not in out))
        test = bench.encode(tuple(examples[n] for n in held))
        bits = run_exact(bench, variant, data, test, test, shots, seed).test.right
        if bits is None:
            return None
        for n, bit in zip(held, bits, strict=True):
            right[n] = bit
    return "".join(right)
