"""The battery of the registered methods whose gradient stays in a network beside the backbone."""

import copy
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt import load_chip
from edge_adapt.methods import METHODS, BackwardNeed, Placement, exact_reader, get_method
from edge_adapt.methods.training.trainer import train
from edge_adapt.simulator import program
from edge_adapt.studies.encoding import Encoded
from edge_adapt.studies.trial import ChipTrial
from edge_adapt.studies.workbench import Variant
from edge_adapt.workloads.images import Images
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

SIDE = {name: method for name, method in METHODS.items() if method.backward_need is BackwardNeed.SIDE}
EVERY = [(name, kind) for name, method in SIDE.items() for kind in method.kinds]
CLASSES = 3
every_side = pytest.mark.parametrize(("name", "kind"), EVERY)


@pytest.fixture
def base(kind, backbone, image_backbone):
    return {"text": backbone, "image": image_backbone}[kind]


@pytest.fixture
def data(kind, examples, pictures):
    return {"text": examples, "image": pictures}[kind]


def attach(base, name, placement=None, **options):
    """The method on a backbone, what starts at zero moved from there: every path of it has a gradient."""
    method = get_method(name, **options)
    adaptation = method.attach(base, CLASSES, np.random.default_rng(0), placement=placement)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for value in adaptation.state.values():
            value.add_(0.1 * torch.randn(value.shape, generator=generator, dtype=value.dtype))
    return adaptation


def loss_of(adaptation, data, states=None):
    inputs, mask, labels = data.tensors()
    return F.cross_entropy(adaptation.module(inputs, mask, states), labels)


@every_side
def test_no_operation_of_the_backbone_is_in_the_graph(base, data, name, kind):
    """Autograd's graph ends in the trained state: neither a parameter nor a hidden state of the backbone is in it."""
    adaptation = attach(base, name)
    inputs, mask, _ = data.tensors()
    assert not any(state.requires_grad for state in adaptation.module.observe(inputs, mask))
    reached, todo, seen = set(), [loss_of(adaptation, data).grad_fn], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            reached.add(id(node.variable))
        todo += [before for before, _ in node.next_functions]
    assert reached == {id(adaptation.state[key]) for key in adaptation.trained_names}


@every_side
def test_observed_states_give_the_same_bits(base, data, name, kind):
    """Loss and gradients of a batch of stored states are, bit for bit, those of the batch read through the model."""
    found = []
    for stored in (False, True):
        adaptation = attach(base, name)
        inputs, mask, _ = data.tensors()
        states = adaptation.module.observe(inputs, mask) if stored else None
        loss = loss_of(adaptation, data, states)
        loss.backward()
        found.append({"loss": loss, **{key: adaptation.state[key].grad for key in adaptation.trained_names}})
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])


@every_side
def test_stored_states_train_as_states_that_are_read_again(base, data, name, kind):
    """The backbone runs once for each example; the end is the same but for the order of sums in other batches."""
    ends = []
    for cached in (True, False):
        adaptation, runs = attach(base, name, cache_features=cached), []
        adaptation.module.encoder.register_forward_pre_hook(lambda _m, _a, runs=runs: runs.append(1))
        recipe = adaptation.recipe.with_options(epochs=3)
        train(adaptation, data.encoded, data.labels, np.random.default_rng(1), recipe=recipe)
        assert (len(runs) == 1) == cached, "24 examples are one pass"
        ends.append(adaptation.state_dict())
    for key, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][key], rtol=0, atol=1e-8, msg=key)


@every_side
def test_padding_changes_nothing(base, data, name, kind):
    """A text alone, and beside longer ones. Images have no padding."""
    adaptation = attach(base, name)
    if kind == "image":
        assert not adaptation.module.observe(*data.tensors()[:2])[0].isnan().any()
        return
    inputs, mask, _ = data.tensors()
    together = adaptation.module(inputs, mask)
    for row, length in enumerate(mask.sum(1).tolist()):
        alone = adaptation.module(inputs[row : row + 1, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-10)


@every_side
def test_every_matrix_in_cells_is_read_and_read_from_behind_as_planned(base, data, name, kind):
    for placement in METHODS[name].placements:
        adaptation = attach(base, name, placement)
        read, behind = [], []

        def look(cell, x, weight, read=read, behind=behind):
            read.append(cell)
            behind.extend([cell] if x.requires_grad else [])
            return exact_reader(cell, x, weight)

        adaptation.use(look)
        loss_of(adaptation, data)
        assert sorted(read) == sorted(adaptation.plan.read)
        beside = set(adaptation.plan.read) - set(adaptation.plan.backbone)
        assert (placement is Placement.DIGITAL) == (not beside)
        in_cells = placement is Placement.NVM_STEP  # else a gradient is multiplied outside them
        assert sorted(behind if in_cells else []) == sorted(adaptation.plan.transposed)


def mixed(adaptation, tokens, sequences):
    """Products of the backward pass of gates and confidences, which are none of matrices."""
    tensors = adaptation.plan.tensors
    gates, confidence = (
        sum(tensor.numbers for name, tensor in tensors.items() if name.endswith(end))
        for end in (".gates", ".confidence")
    )
    found = 4 * gates * tensors["side.first"].shape[0] * tokens if gates else 0
    return found + 2 * confidence * (len(adaptation.plan.levels) - 1) * sequences


@every_side
def test_products_of_the_backward_pass_are_those_of_the_plan(base, data, name, kind):
    """With the gains of norms, one for each number that leaves them, and those of gates."""
    adaptation, gains = attach(base, name, Placement.DIGITAL), []
    for module in adaptation.module.side.modules():
        if isinstance(module, nn.LayerNorm):
            module.register_forward_hook(lambda _m, _a, out: gains.append(out.numel()))
    inputs, mask, labels = (part[:2] for part in data.tensors())
    if kind == "text":
        inputs, mask = inputs[:, :5], torch.ones_like(inputs[:, :5])
    loss = F.cross_entropy(adaptation.module(inputs, mask), labels)
    with FlopCounterMode(display=False) as counter:
        loss.backward()
    tokens = mask.numel()
    planned = adaptation.backward_work.macs(tokens, tokens * mask.shape[1], len(mask))
    assert counter.get_total_flops() // 2 == planned - sum(gains) - mixed(adaptation, tokens, len(mask))


@every_side
def test_only_what_the_side_network_needs_is_kept(base, data, name, kind):
    """Nothing that the backbone makes is saved for the backward pass, but for the states that the network takes."""
    adaptation, kept = attach(base, name), {}
    inputs, mask, _ = data.tensors()
    made = []
    for module in adaptation.module.encoder.modules():
        module.register_forward_hook(lambda _m, _a, out, made=made: made.extend([out] if torch.is_tensor(out) else []))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.setdefault(t.data_ptr(), t), lambda t: t):
        states = adaptation.module.observe(inputs, mask)
        assert not kept
        adaptation.module(inputs, mask, states)
    taken = {state.data_ptr() for state in states}
    assert not (kept.keys() - taken) & {tensor.data_ptr() for tensor in made}


ON_CHIP = [(name, method.kinds[0], place) for name, method in SIDE.items() for place in method.placements]


@pytest.mark.parametrize(("name", "kind", "placement"), ON_CHIP)
def test_the_backbone_is_never_written_and_read_once(base, name, kind, placement):
    """On a chip, two epochs: the backbone's arrays are read once for each token, and no cell of them is written."""
    chip = load_chip("reram", {"array.rows": "20", "array.columns": "24", "array.slices": "2"})
    base = dataclasses.replace(base, module=copy.deepcopy(base.module).float())
    method = get_method(name)
    recipe = method.recipe.with_options(epochs=2)
    attached = method.attach(base, CLASSES, np.random.default_rng(0), placement=placement)
    frozen = {x.name: attached.cell_tensors[x.name].detach().numpy() for x in base.shape.linears}
    bench = SimpleNamespace(backbone=base, classes=CLASSES, pool=None, chip=chip)
    trial = ChipTrial(bench, Variant(method, placement), program(chip, frozen, np.random.default_rng(1)), 2, 0)
    rng = np.random.default_rng(0)
    labels, length = [n % CLASSES for n in range(6)], 6 if kind == "text" else 5
    data = Encoded([[38, *rng.integers(1, 38, 4).tolist(), 39] for _ in labels], labels)
    if kind == "image":
        data = Encoded(Images(rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8), 8, length), labels)
    trial.deploy(data)
    before = {n: trial.model.matrix(n).writes.copy() for n in attached.plan.backbone}
    cost = trial.adapt(data, recipe)
    assert all((trial.model.matrix(n).writes == before[n]).all() for n in before)
    plan, tokens = attached.plan, 6 * length
    steps = 0 if placement is Placement.NVM_TASK else len(plan.side.read)
    assert cost.counts.reads == tokens * (len(plan.backbone) + steps * (1 + 2))
    assert cost.counts.transposed_reads == (tokens * 2 * len(plan.transposed) if steps else 0)
    assert (cost.cells_written > 0) == (placement is not Placement.DIGITAL)
