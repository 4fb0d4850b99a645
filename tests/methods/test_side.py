"""A method whose gradient stays in a network beside the backbone: a small ladder, in cells and digital, with hidden
states read again or stored, on a chip and with exact reads.
"""

import copy
import dataclasses
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from edge_adapt import load_chip
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.methods import BackwardNeed, Placement
from edge_adapt.methods.attaching import Built
from edge_adapt.methods.costs import DigitalWork, matrix_forward, matrix_gradient, scale_backward, scale_forward
from edge_adapt.methods.layers import CellLinear
from edge_adapt.methods.plan import Part, Side, Size, TensorPlan
from edge_adapt.methods.recipes import Recipe
from edge_adapt.methods.spec import Method, require_in_bundles
from edge_adapt.methods.training.trainer import train
from edge_adapt.simulator import program
from edge_adapt.studies.count import Counter, adaptation_events, result
from edge_adapt.studies.count_config import CountConfig
from edge_adapt.studies.encoding import Encoded
from edge_adapt.studies.samples import program_sample
from edge_adapt.studies.trial import ChipTrial
from edge_adapt.studies.variants import Variant
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

CLASSES, NARROW, EXAMPLES, LENGTH = 3, 5, 11, 9
IN_CELLS = (Placement.NVM_FROZEN, Placement.NVM_STEP, Placement.NVM_TASK)
EVERY = (*IN_CELLS, Placement.DIGITAL)
RECIPE = Recipe(learning_rates={"matrices": 1e-2, "gates": 1e-2, "head": 3e-3}, epochs=2, batch_size=4)
EXACT = (
    "reads", "transposed_reads", "word_line_drives", "bit_line_drives", "read_conversions", "sample_holds",
    "shift_adds", "buffer_bytes", "router_bytes", "digital_macs", "digital_adds", "sram_bytes", "array_cycles",
    "transposed_cycles",
)  # fmt: skip


class Rungs(nn.Module):
    """s <- g s + (1 - g) down(h) for each block, and s + mix(s) behind the last one."""

    def __init__(self, downs, mix, gates):
        super().__init__()
        self.downs, self.mix, self.gates = nn.ModuleList(downs), mix, nn.Parameter(gates)

    def forward(self, states, attention_mask):
        stream = torch.zeros(())
        for down, gate, state in zip(self.downs, self.gates.sigmoid(), states, strict=True):
            stream = gate * stream + (1 - gate) * down(state)
        return stream + self.mix(stream)


@dataclass(frozen=True)
class Ladder(Method):
    name = "ladder"
    title = "Ladder"
    family = "low-rank"
    summary = "a ladder, for tests"
    source = "none"
    placements = EVERY
    backward_need = BackwardNeed.SIDE
    groups = ("matrices", "gates")

    cache_features: bool = True

    def part(self, shape, placement, size):
        group = "" if placement is Placement.NVM_FROZEN else "matrices"
        blocks, width = len(shape.blocks), shape.hidden_size
        downs = [TensorPlan(f"side.down.{n}", (NARROW, width), placement, group) for n in range(blocks)]
        mix = TensorPlan("side.mix", (NARROW, NARROW), placement, group)
        gates = TensorPlan("side.gates", (blocks,), group="gates")
        in_cells = placement is not Placement.DIGITAL
        weights = sum(tensor.numbers for tensor in (*downs, mix))
        trained_outside = placement in (Placement.DIGITAL, Placement.NVM_TASK)
        digital, mixing = matrix_forward(weights), scale_forward(2 * NARROW * blocks)
        backward = scale_backward(2 * NARROW * blocks) + (matrix_gradient(weights) if group else DigitalWork())
        return Part(
            (*downs, mix, gates),
            inference_work=mixing if in_cells else mixing + digital,
            training_work=mixing + digital if trained_outside else mixing,
            backward_work=backward + (matrix_forward(mix.numbers) if trained_outside else DigitalWork()),
            side=Side(
                levels=tuple(range(1, blocks + 1)),
                width=NARROW,
                read=tuple(tensor.name for tensor in (*downs, mix)) if in_cells else (),
                transposed=("side.mix",) if in_cells else (),
                outputs=NARROW * (blocks + 1),
                cached=self.cache_features,
            ),
        )

    def build(self, site):
        in_cells = site.placement is not Placement.DIGITAL
        generator = torch.Generator().manual_seed(7)  # what is never written is the same for all tasks and seeds
        matrices = {}

        def linear(name, width):
            layer = nn.Linear(width, NARROW, bias=False, dtype=site.dtype)
            layer.weight.data = torch.randn(NARROW, width, generator=generator).to(site.dtype) / width**0.5
            layer = CellLinear(name, layer, own=True) if in_cells else layer
            matrices[name] = layer.weight
            return layer

        width, blocks = site.shape.hidden_size, len(site.shape.blocks)
        downs = [linear(f"side.down.{n}", width) for n in range(blocks)]
        model = site.model(site.encoder())
        model.side = Rungs(downs, linear("side.mix", NARROW), torch.zeros(blocks, dtype=site.dtype))
        trained = {} if site.placement is Placement.NVM_FROZEN else matrices
        return Built(model, {**trained, "side.gates": model.side.gates}, matrices if in_cells else {})


@pytest.fixture(params=["text", "image"])
def kind(request):
    return request.param


@pytest.fixture
def base(kind, backbone, image_backbone):
    return {"text": backbone, "image": image_backbone}[kind]


@pytest.fixture
def data(kind, examples, pictures):
    return {"text": examples, "image": pictures}[kind]


def attach(base, placement=Placement.DIGITAL, method=Ladder, **options):
    return method(recipe=RECIPE, **options).attach(base, CLASSES, np.random.default_rng(0), placement=placement)


@pytest.mark.parametrize("placement", EVERY)
def test_no_gradient_enters_the_backbone(base, data, placement):
    """Autograd's graph ends in the state, and no hidden state of the backbone is in it."""
    adaptation = attach(base, placement)
    inputs, mask, labels = data.tensors()
    assert not any(state.requires_grad for state in adaptation.module.observe(inputs, mask))
    loss = nn.functional.cross_entropy(adaptation.module(inputs, mask), labels)
    reached, todo, seen = set(), [loss.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            reached.add(id(node.variable))
        todo += [before for before, _ in node.next_functions]
    assert reached == {id(adaptation.state[name]) for name in adaptation.trained_names}


def test_what_the_ladder_computes(base, data):
    """Gates that let nothing of the stream pass leave the last block's hidden states, pooled and made narrow."""
    adaptation = attach(base)
    inputs, mask, _ = data.tensors()
    side = adaptation.module.side
    with torch.no_grad():
        side.gates.fill_(-1e9)
        side.mix.weight.zero_()
        last = adaptation.module.observe(inputs, mask)[-1] @ side.downs[-1].weight.T
        found = adaptation.module.features(inputs, mask)
    text = (last * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    torch.testing.assert_close(found, last[:, 0] if adaptation.module.of_images else text, rtol=0, atol=1e-12)


@pytest.mark.parametrize("optimiser", ["adamw", "mezo"])
@pytest.mark.parametrize("keep_head", [False, True])
def test_stored_states_train_as_states_that_are_read_again(base, data, optimiser, keep_head):
    """With exact reads nothing else changes, padded batches included; the backbone runs once for each example."""

    class Kept(Ladder):
        def part(self, shape, placement, size):
            return dataclasses.replace(super().part(shape, placement, size), keep_head=keep_head)

    states, runs = [], []
    for cached in (True, False):
        adaptation, seen = attach(base, method=Kept, cache_features=cached), []
        adaptation.module.encoder.register_forward_pre_hook(lambda _m, _a, seen=seen: seen.append(1))
        recipe = RECIPE.with_options(optimiser=optimiser)
        log = train(adaptation, data.encoded, data.labels, np.random.default_rng(1), recipe=recipe)
        states.append(adaptation.state_dict())
        runs.append(len(seen))
        assert log.steps == 2 * 6
        assert (log.stored_trained.sequences + log.stored_only.sequences > 0) == cached
    assert runs[0] == 1 < runs[1], "24 examples are one pass"
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=0, atol=1e-9)
    start = attach(base, method=Kept).state_dict()
    assert all((states[0][name] != start[name]).any() for name in ("side.mix", "side.gates", "head.weight"))


def test_the_products_of_the_side_network_are_those_of_its_plan(base, data):
    adaptation = attach(base, Placement.DIGITAL)
    inputs, mask, _ = data.tensors()
    observed = adaptation.module.observe(inputs, mask)
    tokens = mask.numel()
    with FlopCounterMode(display=False) as counter:
        adaptation.module(inputs, mask, observed)
    products = counter.get_total_flops() // 2
    scaled = 2 * NARROW * 2 * tokens
    assert products == adaptation.plan.stored_work.macs(tokens, 0, len(inputs)) - scaled
    whole = adaptation.plan.training_work.macs(tokens, tokens * mask.shape[1], len(inputs))
    assert whole > adaptation.plan.stored_work.macs(tokens, 0, len(inputs))


# --- on a chip
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chip():
    return load_chip("reram", {"array.rows": "20", "array.columns": "24", "array.slices": "2"})


@pytest.fixture(scope="module")
def counter(chip):
    return Counter(chip, program_sample(chip))


def chip_run(chip, base, data, placement, method=Ladder, **options):
    """Events of an adaptation and an answer on the chip, and the trial."""
    base = dataclasses.replace(base, module=copy.deepcopy(base.module).float())
    made = method(recipe=RECIPE, **options)
    attached = made.attach(base, CLASSES, np.random.default_rng(0), placement=placement)
    frozen = {name: tensor.detach().numpy() for name, tensor in attached.cell_tensors.items()
              if attached.placements[name] is Placement.NVM_FROZEN}  # fmt: skip
    bench = SimpleNamespace(backbone=base, classes=CLASSES, pool=None, chip=chip)
    trial = ChipTrial(bench, Variant(made, placement), program(chip, frozen, np.random.default_rng(1)), 2, 0)
    trial.deploy(data)
    cost = trial.adapt(data, made.recipe)
    _, answer = trial.inference(data.first(1))
    return cost, answer, trial


def same_length(kind, pictures):
    labels = [n % CLASSES for n in range(EXAMPLES)]
    if kind == "image":
        return Encoded(pictures.encoded[:EXAMPLES], labels)
    rng = np.random.default_rng(0)
    return Encoded([[38, *rng.integers(1, 38, LENGTH - 2).tolist(), 39] for _ in labels], labels)


ON_CHIP = [
    *(("text", place, "adamw", True) for place in EVERY),
    ("text", Placement.NVM_FROZEN, "adamw", False),
    ("text", Placement.DIGITAL, "adamw", False),
    ("text", Placement.NVM_FROZEN, "mezo", True),
    ("text", Placement.DIGITAL, "mezo", False),
    ("image", Placement.NVM_FROZEN, "adamw", True),
    ("image", Placement.DIGITAL, "adamw", False),
]


@pytest.mark.parametrize(("kind", "placement", "optimiser", "cached"), ON_CHIP)
def test_counted_events_are_those_of_a_simulated_run(
    chip, counter, base, kind, pictures, placement, optimiser, cached, monkeypatch
):
    recipe = RECIPE.with_options(optimiser=optimiser)
    monkeypatch.setattr(f"{__name__}.RECIPE", recipe)
    data = same_length(kind, pictures)
    cost, answer, trial = chip_run(chip, base, data, placement, cache_features=cached)
    length = len(data.ids[0]) if kind == "text" else data.ids.tokens
    plan = Ladder(recipe=recipe, cache_features=cached).plan(base.shape, Size(CLASSES), placement)
    config = CountConfig(examples=EXAMPLES, tokens=length, classes=CLASSES)
    counts, steps = adaptation_events(config, counter, plan)
    assert steps == cost.steps
    assert {n: getattr(counts, n) for n in EXACT} == {n: getattr(cost.counts, n) for n in EXACT}
    record = result(config, counter, base.shape, plan, deployed=0).inference_event_counts
    assert {n: record[n] for n in EXACT} == {n: getattr(answer, n) for n in EXACT}
    assert set(plan.matrices) == set(trial.model.names)

    tokens, epochs, backbone = EXAMPLES * length, 2, len(plan.backbone)
    passes = {"adamw": 1, "mezo": 2}[optimiser] * epochs
    aside = 3 if placement in IN_CELLS else 0
    in_steps = 0 if placement is Placement.NVM_TASK else aside
    again = 0 if cached else passes
    assert counts.reads == tokens * (backbone * (1 + again) + in_steps * (1 + passes))
    behind = optimiser == "adamw" and in_steps > 0
    assert counts.transposed_reads == (tokens * epochs if behind else 0), "of the mix alone, never of the backbone"


def test_storing_saves_energy_and_time(counter, base):
    config = CountConfig(examples=EXAMPLES, tokens=5, classes=CLASSES)
    records = [
        result(config, counter, base.shape, Ladder(recipe=RECIPE, cache_features=cached).plan(base.shape), deployed=0)
        for cached in (True, False)
    ]
    for key, most in (
        ("adaptation_energy_joules", 0.7), ("adaptation_time_sequential_seconds", 0.7),
        ("adaptation_time_seconds", 1.0),  # layers that work at the same time save less when they are left out
    ):  # fmt: skip
        assert getattr(records[0], key) < most * getattr(records[1], key), key
    assert records[0].inference_energy_joules == records[1].inference_energy_joules
    assert records[0].backward_need == "SIDE"


def test_padding_drives_no_cell_of_the_side_network(chip, backbone, examples):
    """Stored states of texts of different length: what is read is their tokens, whatever the batches."""
    data = Encoded(examples.encoded, examples.labels)
    cost, _, trial = chip_run(chip, backbone, data, Placement.NVM_FROZEN)
    tokens = sum(map(len, examples.encoded))
    assert cost.counts.reads == tokens * (len(trial.adaptation.plan.backbone) + 3 * (1 + 2))
    assert cost.counts.transposed_reads == 2 * tokens


def test_the_memory_of_stored_states(chip, backbone, examples):
    data = Encoded(examples.encoded, examples.labels)
    costs = [chip_run(chip, backbone, data, Placement.DIGITAL, cache_features=c)[0] for c in (True, False)]
    assert costs[0].memory_bytes - costs[1].memory_bytes == 2 * 2 * 16 * sum(map(len, examples.encoded))


# --- what is not declared
# ---------------------------------------------------------------------------------------------------------------------


def changed(change, **parts):
    """A ladder of which `change(model, built)` changes what is built, and `parts` what is planned."""

    class Changed(Ladder):
        def part(self, shape, placement, size):
            return dataclasses.replace(super().part(shape, placement, size), **parts)

        def build(self, site):
            return change(super().build(site)) or built_of[-1]

    built_of = []
    keep = change

    def change(built):
        built_of.append(built)
        return keep(built)

    return Changed


def add(name, value):
    def change(built):
        setattr(built.model.side, name, value)

    return change


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("more", nn.Linear(5, 5, dtype=torch.float64)),
        ("matrix", nn.Parameter(torch.zeros(5, 5, dtype=torch.float64))),
        ("loose", torch.zeros(5, 5)),
        ("deeper", nn.Sequential(nn.Linear(5, 5, dtype=torch.float64))),
        ("kernel", nn.Conv1d(5, 5, 3, dtype=torch.float64)),
    ],
)
def test_a_matrix_that_the_plan_does_not_know_is_refused(backbone, name, value):
    for placement in (Placement.DIGITAL, Placement.NVM_STEP):
        with pytest.raises(EdgeAdaptError, match=rf"ladder multiplies by 'side\.{name}.*which its plan does not know"):
            attach(backbone, placement, changed(add(name, value)))


def test_a_cell_matrix_of_no_declared_name_is_refused(backbone):
    stray = CellLinear("side.stray", nn.Linear(5, 5, bias=False, dtype=torch.float64), own=True)
    with pytest.raises(EdgeAdaptError, match=r"not built as planned: matrices in cells 'side\.stray'"):
        attach(backbone, Placement.NVM_STEP, changed(add("stray", stray)))


def test_a_constant_may_be_stated(backbone):
    constant = torch.zeros(5, 5, dtype=torch.float64)

    def change(built):
        built.model.side.register_buffer("constant", constant)
        return dataclasses.replace(built, constants=[constant])

    assert attach(backbone, Placement.DIGITAL, changed(change)).method == "ladder"


def test_digital_matrices_need_their_work(backbone):
    with pytest.raises(EdgeAdaptError, match="ladder has linear layers of 185 numbers in the digital unit"):
        attach(backbone, Placement.DIGITAL, changed(lambda built: None, inference_work=DigitalWork()))


def test_a_read_of_no_declared_name_raises_on_the_chip(chip, backbone, examples):
    def rename(built):
        built.model.side.mix.cell_name = "side.mx"

    method = changed(rename)
    with pytest.raises(EdgeAdaptError, match=r"not built as planned: matrices in cells"):
        attach(backbone, Placement.NVM_FROZEN, method)

    class Late(Rungs):
        def forward(self, states, attention_mask):
            return self.mix.reader("side.mx", states[0] @ self.downs[0].weight.T, self.mix.weight)

    def swap(built):
        built.model.side.__class__ = Late

    data = Encoded(examples.encoded, examples.labels)
    with pytest.raises(EdgeAdaptError, match=r"the matrix 'side\.mx' is read.*did you mean 'side\.mix'"):
        chip_run(chip, backbone, data, Placement.NVM_FROZEN, changed(swap))


@pytest.mark.parametrize("need", [BackwardNeed.NONE, BackwardNeed.THROUGH])
def test_a_side_network_goes_with_its_gradient(backbone, need):
    class Wrong(Ladder):
        backward_need = need

    with pytest.raises(ValueError, match="SIDE goes with a side network"):
        Wrong(recipe=RECIPE).plan(backbone.shape)


def test_a_bundle_refuses_it_by_name():
    with pytest.raises(UsageError, match="ladder trains a network beside the backbone"):
        require_in_bundles(Ladder(recipe=RECIPE))
