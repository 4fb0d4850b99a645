"""Ranks that training gives up are neither written nor read: against products with what is kept, and counts by hand."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from edge_adapt import load_chip
from edge_adapt.methods import get_method
from edge_adapt.methods.placement import Placement
from edge_adapt.methods.ranks import Kept
from edge_adapt.simulator import program
from edge_adapt.simulator.autograd import ChipReader
from edge_adapt.simulator.mapping import Layout
from edge_adapt.studies.trained_cells import TrainedCells
from edge_adapt.studies.trial import ChipTrial
from edge_adapt.studies.workbench import Encoded, Variant
from edge_adapt.workloads.family_shapes import module_shape
from torch import nn
from transformers import BertConfig, BertModel

WIDTH, LENGTH, EXAMPLES, CLASSES, RANK = 16, 7, 8, 2, 4
CELLS = {"write.unchanged": "verify", "array.rows": "16", "array.columns": "16"}
OUT, IN = 6, 5


def chip_of(fidelity="ideal"):
    return program(load_chip("reram", CELLS), {"w": np.eye(3)}, np.random.default_rng(0), fidelity)


def set_of(axis, ranks):
    return Kept(axis, np.array(sorted(ranks), np.int64))


def masked(value, axis, ranks):
    """The matrix with zeros for all other ranks."""
    keep = np.isin(np.arange(value.shape[axis]), list(ranks))
    return np.where(keep[:, None] if axis == 0 else keep, value, 0.0).astype(np.float32)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("seed", range(4))
def test_reads_are_products_with_what_is_kept(axis, seed):
    """Whatever is given up, and comes back: exact on an ideal chip, the gradients of x and of the matrix too."""
    rng, model = np.random.default_rng(seed), chip_of()
    reader = ChipReader(model)
    cells = TrainedCells(model, reader, ["m"])
    total = OUT if axis == 0 else IN
    for turn in range(5):
        value = rng.standard_normal((OUT, IN)).astype(np.float32)
        ranks = set(np.flatnonzero(rng.random(total) < 0.5).tolist()) if turn else set(range(seed))
        cells.write("m", value, set_of(axis, ranks))
        assert not cells.unwritten
        x = torch.from_numpy(rng.standard_normal((2, 3, IN)).astype(np.float32)).requires_grad_()
        weight = torch.from_numpy(masked(value, axis, ranks)).requires_grad_()
        ours = torch.from_numpy(value).requires_grad_()
        got, expected = reader("m", x, ours), nn.functional.linear(x, weight)
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
        if not ranks:
            assert not got.requires_grad
            continue
        out = torch.from_numpy(rng.standard_normal((2, 3, OUT)).astype(np.float32))
        for y, w in ((got, ours), (expected, weight)):
            gradients = torch.autograd.grad(y, [x, w], out)
            if w is ours:
                found = gradients
        torch.testing.assert_close(found[0], gradients[0], rtol=1e-5, atol=1e-5)
        kept = torch.from_numpy(masked(np.ones((OUT, IN)), axis, ranks))
        torch.testing.assert_close(found[1], gradients[1] * kept, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_cells_and_looks_are_those_of_the_kept_ranks(axis):
    """By hand, on a chip with noise: first writes of compact arrays, looks at what is written over."""
    model = chip_of("fast")
    cells = TrainedCells(model, ChipReader(model), ["m"])
    rng, looks = np.random.default_rng(0), []
    shape = lambda n: (n, IN) if axis == 0 else (OUT, n)
    held = lambda n: Layout.of(model.chip, shape(n)).cells

    def write(kept, now=None):
        before, pulses = model.counts.verify_conversions, model.counts.set_pulses + model.counts.reset_pulses
        cells.write(
            "m",
            rng.standard_normal((OUT, IN)).astype(np.float32),
            set_of(axis, kept),
            None if now is None else set_of(axis, now),
        )
        more = model.counts.set_pulses + model.counts.reset_pulses - pulses
        looks.append(model.counts.verify_conversions - before - more)

    write([])
    assert cells.cells == 0 and cells.on_chip == () and looks == [0]
    write([0, 2])
    assert cells.on_chip == ("m",) and cells.cells == held(2) and looks[-1] == held(2)
    write([0, 2], [2])
    assert looks[-1] == held(1)
    write([0, 2], [])
    assert looks[-1] == 0
    write([2, 3])
    assert cells.on_chip == ("m", "m +1") and cells.cells == held(2) + held(1) and looks[-1] == held(1) + held(1)


# --- a trial
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench():
    sizes = {"hidden_size": WIDTH, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = BertModel(BertConfig(vocab_size=40, max_position_embeddings=32, **sizes), add_pooling_layer=False)
    names = [name for name, child in module.named_modules() if isinstance(child, nn.Linear)]
    backbone = SimpleNamespace(
        module=module.eval(), hidden_size=WIDTH, blocks=1, linear_names=lambda: names, special_ids=(38, 39),
        special_tokens=2, kind="text", name="tiny", tagged=False, separator=None,
        shape=module_shape(module, "tiny"), pooling="mean",
    )  # fmt: skip
    return SimpleNamespace(backbone=backbone, classes=CLASSES, pool=None, chip=load_chip("reram", CELLS))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    labels = [i % CLASSES for i in range(EXAMPLES)]
    return Encoded([[38, *rng.integers(0, 38, LENGTH - 2).tolist(), 39] for _ in labels], labels)


def trial_of(bench, method, placement, fidelity="fast"):
    weights = {n: bench.backbone.module.get_submodule(n).weight.detach().numpy() for n in bench.backbone.linear_names()}
    base = program(bench.chip, weights, np.random.default_rng(2), fidelity)
    return ChipTrial(bench, Variant(method, placement), base, 2, 0)


def lora_of(bench, placement, query, fidelity="fast"):
    """A trial of LoRA that has given up all ranks of the value's pair, and all but `query` of the query's."""
    trial = trial_of(bench, get_method("lora", rank=RANK), placement, fidelity)
    with torch.no_grad():
        for name, parameter in trial.adaptation.state.items():
            if "lora" in name:
                gone = [rank for rank in range(RANK) if "value" in name or rank not in query]
                parameter.index_fill_(int(name.endswith("lora_b")), torch.tensor(gone), 0.0)
    return trial


@pytest.mark.parametrize("placement", [Placement.NVM_STEP, Placement.NVM_TASK])
def test_what_was_given_up_stays_so_and_costs_nothing(bench, data, placement):
    trial = lora_of(bench, placement, [0, 3])
    cost = trial.adapt(data, trial.adaptation.recipe.with_options(epochs=2, min_steps=0))
    query = "encoder.layer.0.attention.self.query"
    assert trial.cells.on_chip == (f"{query}.lora_a", f"{query}.lora_b")
    kept = trial.adaptation.kept_ranks(gated=True)
    assert {name: part.ranks.tolist() for name, part in kept.items() if "query" in name} == {
        f"{query}.lora_a": [0, 3], f"{query}.lora_b": [0, 3]
    }  # fmt: skip
    assert all(part.ranks.size == 0 for name, part in kept.items() if "value" in name)
    layouts = [Layout.of(bench.chip, shape) for shape in ((2, WIDTH), (WIDTH, 2))]
    cells = sum(layout.cells for layout in layouts)
    assert trial.cells.cells == cells
    writes = 1 + cost.steps if placement is Placement.NVM_STEP else 1
    pulses = cost.counts.set_pulses + cost.counts.reset_pulses
    assert cost.counts.verify_conversions - pulses == writes * cells
    _, answer = trial.inference(data.first(1))
    assert answer.reads == LENGTH * (len(bench.backbone.linear_names()) + 2)


@pytest.mark.parametrize("placement", [Placement.NVM_STEP, Placement.NVM_TASK])
def test_an_ideal_chip_answers_as_the_whole_matrices_do(bench, data, placement):
    trial = lora_of(bench, placement, [1], "ideal")
    trial.adapt(data, trial.adaptation.recipe.with_options(epochs=2, min_steps=0))
    found, _ = trial.features(data)
    with torch.no_grad(), trial.bypassing():
        pieces, trial.reader.pieces = trial.reader.pieces, {}
        expected, _ = trial.features(data)
        trial.reader.pieces = pieces
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_state_itself_says_what_is_kept(bench, data):
    """It goes with a copy: a fresh adaptation that loads the state, and a trial that takes over a twin's training."""
    twin = lora_of(bench, Placement.DIGITAL, [0, 2])
    recipe = twin.adaptation.recipe.with_options(epochs=1, min_steps=0)
    twin.adapt(data, recipe)
    trial = trial_of(bench, get_method("lora", rank=RANK), Placement.NVM_TASK)
    assert all(part.ranks.size == RANK for part in trial.adaptation.kept_ranks(gated=True).values())
    trial.adapt(data, recipe, as_in=twin)
    assert trial.cells.cells == sum(Layout.of(bench.chip, shape).cells for shape in ((2, WIDTH), (WIDTH, 2)))


# --- methods that give up ranks
# ---------------------------------------------------------------------------------------------------------------------


def gated_trial(bench, data, name, placement, **options):
    """A trial that is over, its cost, and how many ranks were open at each change of the numbers."""
    method = get_method(name, rank=RANK)
    recipe = method.recipe.with_options(**{"epochs": 6, "min_steps": 0, "batch_size": 4} | options)
    trial = trial_of(bench, dataclasses.replace(method, recipe=recipe), placement)
    opened, follow = [], trial._after_change

    def after_change():
        kept = trial.adaptation.kept_ranks(gated=True)
        opened.append(sum(part.ranks.size for key, part in kept.items() if key.endswith("lora_a")))
        follow()

    trial._after_change = after_change
    return trial, trial.adapt(data, recipe), opened


def cells_of(bench, ranks):
    """Cells of the rows and columns of so many ranks, in pairs of one rank each."""
    return ranks * sum(Layout.of(bench.chip, shape).cells for shape in ((1, WIDTH), (WIDTH, 1)))


GIVING_UP = [("sora", {"soft_threshold": 2.0}), ("adalora", {"kept_share": 0.4})]


@pytest.mark.parametrize(("name", "options"), GIVING_UP)
def test_every_step_looks_at_the_cells_of_open_ranks_alone(bench, data, name, options):
    """NVM_STEP: the first write has all ranks, each later one those whose gate is not 0 then."""
    trial, cost, opened = gated_trial(bench, data, name, Placement.NVM_STEP, **options)
    total = 2 * RANK
    assert 0 < opened[-1] < total and opened[-1] < opened[0] <= total
    looks = cost.counts.verify_conversions - cost.counts.set_pulses - cost.counts.reset_pulses
    assert looks == cells_of(bench, total) + sum(cells_of(bench, ranks) for ranks in opened)
    assert trial.cells.cells == cells_of(bench, total)


@pytest.mark.parametrize(("name", "options"), GIVING_UP)
def test_a_task_programs_the_open_ranks_alone(bench, data, name, options):
    """NVM_TASK: their cells, and no other; reads are those of what is there."""
    trial, cost, opened = gated_trial(bench, data, name, Placement.NVM_TASK, **options)
    assert 0 < opened[-1] < 2 * RANK
    looks = cost.counts.verify_conversions - cost.counts.set_pulses - cost.counts.reset_pulses
    assert looks == trial.cells.cells == cells_of(bench, opened[-1])
    _, answer = trial.inference(data.first(1))
    assert answer.reads == LENGTH * (len(bench.backbone.linear_names()) + len(trial.cells.on_chip))


def test_ranks_are_allocated_before_the_first_write(bench, data):
    """Two pairs, one of them left with 4 // 4 * 2 = 2 of its 4 ranks: the others' cells never exist."""
    method = get_method("lora", rank=RANK)
    changes = {"epochs": 2, "min_steps": 0, "reduced_share": 0.5}
    recipe = method.recipe.with_options(hooks="rank-allocation").with_options(**changes)
    trial = trial_of(bench, dataclasses.replace(method, recipe=recipe), Placement.NVM_STEP)
    written = []
    add = trial.model.add
    trial.model.add = lambda *args, **more: written.append(trial.model.counts.reads) or add(*args, **more)
    cost = trial.adapt(data, recipe)
    assert trial.cells.cells == cells_of(bench, RANK + 2)
    looks = cost.counts.verify_conversions - cost.counts.set_pulses - cost.counts.reset_pulses
    assert looks == (1 + cost.steps) * cells_of(bench, RANK + 2)
    # The features for the head and the pass of the hook come first: two reads of the backbone by all tokens.
    assert len(written) == 4 and set(written) == {2 * EXAMPLES * LENGTH * len(bench.backbone.linear_names())}
    assert cost.initial_cells_written <= cells_of(bench, RANK + 2)
