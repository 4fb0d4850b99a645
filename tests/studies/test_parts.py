"""Which parts a simulation has: methods are trained with exact weights, unless training on the chip is just that."""

from types import SimpleNamespace

import pytest
from edge_adapt.methods import METHODS, BackwardNeed, Placement, get_method
from edge_adapt.studies.parts import ExactPart, of_kind, parts_of
from edge_adapt.studies.variants import Variant
from edge_adapt.workloads.named_shapes import load_shape

SHAPE = load_shape("bert-tiny")
PLACED = [
    Variant(method, placement)
    for method in (*METHODS.values(), get_method("telly", frozen_blocks=0))
    if "text" in method.kinds
    for placement in method.placements
]


@pytest.mark.parametrize("variant", PLACED, ids=lambda variant: variant.title)
def test_what_reads_frozen_cells_while_it_is_trained_is_trained_exactly_as_well(variant):
    """Only a method that trains every matrix, and digitally, or away from the chip, is trained with exact weights as it
    is on the chip.
    """
    config = SimpleNamespace(
        shots=(2,), seed_numbers=(0,), check_pool=0, chip_numbers={0: (0,)}, chip_of=lambda seed: 0
    )  # fmt: skip
    bench = SimpleNamespace(config=config, variants=[variant], plan=lambda v: v.method.plan(SHAPE, None, v.placement))
    trained = {tensor.name for tensor in bench.plan(variant).tensors.values() if tensor.group}
    all_digital = variant.placement is Placement.NVM_TASK and {linear.name for linear in SHAPE.linears} <= trained
    assert bool(of_kind(ExactPart, parts_of(bench))) == (not (all_digital or bench.plan(variant).off_chip))
    whole = variant.method.backward_need is BackwardNeed.FULL and not getattr(variant.method, "frozen_blocks", 0)
    assert all_digital == (variant.placement is Placement.NVM_TASK and whole)
