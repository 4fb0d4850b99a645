"""The energy of reading a cell once, from what a method's answers cost: the same, whichever method it is taken from."""

from types import SimpleNamespace

import pytest
from edge_adapt.methods import Placement, get_method
from edge_adapt.studies.report import _READING, _read_joules
from edge_adapt.studies.variants import Variant
from edge_adapt.workloads.named_shapes import load_shape

SHAPE, JOULES, TOKENS, SEQUENCES = load_shape("bert-tiny"), 3e-15, 70, 10
WIDTH, ADAPTED = 128, 4  # queries and values of two blocks
SQUARE = WIDTH**2


@pytest.mark.parametrize(
    ("name", "placement", "own", "read"),
    [
        ("frozen", Placement.DIGITAL, 0, SHAPE.weights),
        ("hira", Placement.DIGITAL, 0, SHAPE.weights + 2 * ADAPTED * SQUARE),  # again for each of two ranks
        ("loca", Placement.DIGITAL, 0, SHAPE.weights + 2 * ADAPTED * SQUARE),  # two shared matrices of the width
        ("hira", Placement.NVM_TASK, ADAPTED * SQUARE, SHAPE.weights),
        ("full", Placement.NVM_STEP, SHAPE.weights, SHAPE.weights),
        ("lora", Placement.NVM_TASK, ADAPTED * 32 * WIDTH, SHAPE.weights + ADAPTED * 32 * WIDTH),
        ("prompt-tuning", Placement.DIGITAL, 0, SHAPE.weights),
    ],
)
def test_it_does_not_depend_on_the_method(name, placement, own, read):
    """Two cells a weight; `own` weights are rewritten, a token is multiplied by `read` of them."""
    variant = Variant(get_method(name), placement)
    test = SimpleNamespace(size=lambda: SimpleNamespace(tokens=TOKENS, sequences=SEQUENCES))
    bench = SimpleNamespace(variants=[variant], plan=lambda v: v.method.plan(SHAPE, None, v.placement), test=test)
    cells = {linear.name: 2 * linear.out_features * linear.in_features for linear in SHAPE.linears}
    cells |= {f"loca.{way}.{WIDTH}": 2 * SQUARE for way in ("forward", "back")}
    tokens = TOKENS / SEQUENCES + variant.method.extra_tokens
    parts = dict.fromkeys(_READING, 0.0) | {"adc": JOULES * 2 * read * tokens}
    record = SimpleNamespace(
        method=name, placement=placement.value, cells_in_placement=2 * own, inference_energy_by_component_joules=parts
    )
    assert _read_joules([record], bench, cells) == pytest.approx(JOULES, rel=1e-12)
