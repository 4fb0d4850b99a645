"""Zeroth-order recipes on a chip: chosen by name, and counted as forward passes only, against counts made by hand."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from edge_adapt import load_chip
from edge_adapt.errors import UsageError
from edge_adapt.methods import METHODS, get_method
from edge_adapt.methods.placement import Placement
from edge_adapt.methods.recipes import with_optimiser
from edge_adapt.methods.training.optimisers.mezo import ESTIMATES, RULES
from edge_adapt.simulator import ProgrammedModel, program
from edge_adapt.studies.encoding import Encoded
from edge_adapt.studies.method_settings import require_readable, with_settings
from edge_adapt.studies.trial import ChipTrial
from edge_adapt.studies.variants import Variant, choose_variants
from edge_adapt.workloads.family_shapes import module_shape
from edge_adapt.workloads.named_shapes import load_shape
from edge_adapt.workloads.pools import LoraModule, Pool
from torch import nn
from transformers import BertConfig, BertModel

WIDTH, LENGTH, EXAMPLES, CLASSES, BATCH = 16, 7, 9, 3, 4
STEPS = 3  # of one epoch: batches of 4, 4 and 1


def read_once_a_pass(name: str, placement: Placement) -> bool:
    """Whether every matrix is read in its cells once for each token and pass, or not at all: others are held against
    their plans (`test_count`).
    """
    plan = METHODS[name].plan(load_shape("bert-tiny"), placement=placement)
    again = len(plan.read) > len(set(plan.read)) or any(t.read_while_trained for t in plan.tensors.values())
    return not (again or plan.cached)


TEXT = [
    pytest.param(name, place, id=f"{name}-{place}")
    for name, method in METHODS.items() if "text" in method.kinds and method.recipe.epochs
    for place in method.placements if read_once_a_pass(name, place)
]  # fmt: skip


@pytest.fixture(scope="module")
def backbone():
    sizes = {"hidden_size": WIDTH, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = BertModel(BertConfig(vocab_size=40, max_position_embeddings=32, **sizes), add_pooling_layer=False)
    names = [name for name, child in module.named_modules() if isinstance(child, nn.Linear)]
    return SimpleNamespace(
        module=module.eval(), hidden_size=WIDTH, blocks=1, linear_names=lambda: names, special_ids=(38, 39),
        special_tokens=2, kind="text", name="tiny", tagged=False, separator=None,
        shape=module_shape(module, "tiny"), pooling="mean",
    )  # fmt: skip


@pytest.fixture(scope="module")
def bench(backbone):
    rng = np.random.default_rng(0)
    targets = tuple(name for name in backbone.linear_names() if name.endswith(("query", "value")))
    draw = lambda *size: {name: rng.normal(0, 0.1, size).astype(np.float32) for name in targets}
    modules = tuple(LoraModule(f"m{k}", 2, 2.0, draw(2, WIDTH), draw(WIDTH, 2), f"t{k}") for k in range(3))
    chip = load_chip("reram", {"array.rows": "16", "array.columns": "16"})
    return SimpleNamespace(backbone=backbone, classes=CLASSES, pool=Pool(modules, targets, "random", {}), chip=chip)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    labels = [i % CLASSES for i in range(EXAMPLES)]
    return Encoded([[38, *rng.integers(0, 38, LENGTH - 2).tolist(), 39] for _ in labels], labels)


def trial_of(bench, method, placement):
    """A trial on a freshly programmed chip."""
    attached = method.attach(
        bench.backbone, CLASSES, np.random.default_rng(0), placement=placement, pool=bench.pool
    )  # fmt: skip
    backbone = bench.backbone.linear_names()
    frozen = {
        name: tensor.detach().numpy() for name, tensor in attached.cell_tensors.items()
        if name in backbone or attached.placements[name] is Placement.NVM_FROZEN
    }  # fmt: skip
    base = program(bench.chip, frozen, np.random.default_rng(2))
    return ChipTrial(bench, Variant(method, placement), base, 2, 0)


def forward_only(name, **options):
    method = get_method(name)
    recipe = with_optimiser(method.recipe, "mezo", method.forward_only)
    fields = {"epochs": 1, "min_steps": 0, "batch_size": BATCH} | options
    return dataclasses.replace(method, recipe=recipe.with_options(**fields))


@pytest.mark.parametrize(("name", "placement"), TEXT)
def test_two_passes_a_pair_and_nothing_backward(bench, data, name, placement, monkeypatch):
    """By hand: a pass for the features of the head, 2 q a step; 3 q + 1 rewrites of what is in cells."""
    queries = 2
    method = forward_only(name, queries=queries, estimate="two-sided", rule="sgd", block_wise=False)
    trial = trial_of(bench, method, placement)
    rewrites = []
    rewrite = ProgrammedModel.rewrite

    def counted(model, matrix, *more, **options):
        rewrites.append(matrix)
        return rewrite(model, matrix, *more, **options)

    monkeypatch.setattr(ProgrammedModel, "rewrite", counted)
    cost = trial.adapt(data, method.recipe)
    adaptation, counts = trial.adaptation, cost.counts
    head_only = name == "probe"
    assert (cost.steps, cost.forward_pairs, cost.forward_passes) == (STEPS, queries * STEPS, 2 * queries * STEPS)

    passes = 1 if head_only else 1 + 2 * queries
    tokens = EXAMPLES * (LENGTH + adaptation.extra_tokens)
    bypassed = trial.trained_cells if placement is Placement.NVM_TASK else ()
    shared = {matrix: len([m for m in adaptation.module.modules() if getattr(m, "cell_name", "") == matrix])
              for matrix in adaptation.cell_tensors}  # fmt: skip
    read = sum(max(1, shared[matrix]) for matrix in adaptation.cell_tensors if matrix not in bypassed)
    assert counts.reads == (0 if adaptation.plan.off_chip else passes * tokens * read)
    assert counts.transposed_reads == counts.transposed_cycles == counts.bit_line_drives == 0

    rates = method.recipe.learning_rates
    moving = sum(
        adaptation.state[key].numel() for group, keys in adaptation.groups.items() if rates[group] for key in keys
    )
    sequences, batches = passes * EXAMPLES, 1 + (0 if head_only else 2 * queries * STEPS)
    pairs = passes * EXAMPLES * LENGTH**2
    work = adaptation.training_work
    hooks = method.recipe.hooks
    own = 3 * queries + 1 + sum(hook.step_macs for hook in hooks)
    macs = work.macs(passes * EXAMPLES * LENGTH, pairs, sequences, batches) + own * moving * STEPS
    moved = work.sram_bytes(passes * EXAMPLES * LENGTH, sequences, batches)
    # Kept, gone along and back 3 times a direction, updated: each reads and writes 4 bytes a number.
    moved += STEPS * 8 * moving * (1 + 3 * queries + 1 + sum(hook.kept_numbers for hook in hooks))
    if head_only:
        looked = 2 * queries * EXAMPLES
        macs += looked * CLASSES * WIDTH
        moved += 4 * WIDTH * (EXAMPLES + looked)
    assert counts.digital_macs == macs
    assert counts.sram_bytes == moved

    over = int(any(matrix in adaptation.plan.backbone for matrix in trial.trained_cells))  # what is there already
    times = {Placement.NVM_STEP: (3 * queries + 1) * STEPS, Placement.NVM_TASK: over}.get(placement, 0)
    found = {matrix: rewrites.count(matrix) for matrix in trial.trained_cells}
    if any(pair.gate for pair in adaptation.plan.low_rank):  # closed gates let the cells be
        assert all(bool(times) <= found[matrix] <= times for matrix in found)
    else:
        assert found == dict.fromkeys(trial.trained_cells, times)
    if placement is Placement.DIGITAL:
        assert cost.cells_written == counts.verify_conversions == counts.set_pulses == counts.reset_pulses == 0


def test_mezo_in_place_rewrites_four_times_a_step(bench, data):
    """Of a step of gradients it is once: every cell is looked at each time."""
    looks = {}
    for optimiser in ("adamw", "mezo"):
        method = get_method("full")
        recipe = dataclasses.replace(with_optimiser(method.recipe, optimiser), epochs=1, min_steps=0, batch_size=BATCH)
        trial = trial_of(bench, dataclasses.replace(method, recipe=recipe), Placement.NVM_STEP)
        rewritten = []
        inner = trial.model.rewrite
        trial.model.rewrite = lambda name, *more, inner=inner, seen=rewritten: (seen.append(name), inner(name, *more))
        trial.adapt(data, recipe)
        looks[optimiser] = len(rewritten)
    cells = len(trial.trained_cells)
    assert looks == {"adamw": STEPS * cells, "mezo": 4 * STEPS * cells}


@pytest.mark.parametrize(
    ("options", "pairs", "passes"),
    [
        ({"rule": "sign"}, 1, 2),
        ({"rule": "conservative"}, 1, 5),
        ({"estimate": "one-sided", "queries": 3}, 3, 4),
        ({"rule": "momentum", "sparsity": 0.5}, 1, 2),
        ({"rule": "adam", "directions": "signs"}, 1, 2),
        ({"block_wise": True}, 2, 4),
    ],
    ids=str,
)
def test_variants_are_counted(bench, data, options, pairs, passes):
    """PASTA on one block: block-wise, the vectors and the head have a direction each."""
    method = forward_only("pasta", **options)
    cost = trial_of(bench, method, Placement.DIGITAL).adapt(data, method.recipe)
    assert (cost.forward_pairs, cost.forward_passes) == (pairs * STEPS, passes * STEPS)
    assert cost.counts.transposed_reads == cost.cells_written == 0


@pytest.mark.parametrize(("placement", "written"), [("NVM_STEP", True), ("NVM_TASK", False), ("DIGITAL", False)])
def test_the_write_of_the_initial_values_is_known_beside_the_rest(bench, data, placement, written):
    """Without a step it is all there is; with steps it comes first, and adapting again has none."""
    method = forward_only("lora")
    trial = trial_of(bench, method, Placement(placement))
    still = trial.adapt(data, dataclasses.replace(method.recipe, epochs=0))
    assert (still.steps, still.initial_cells_written > 0) == (0, written)
    if written:
        assert still.cells_written == still.initial_cells_written
        assert still.initial_counts.set_pulses == still.counts.set_pulses > 0
    again = trial.adapt(data, method.recipe, again=True)
    assert again.initial_cells_written == 0 and not any(again.initial_counts.as_dict().values())
    first = trial_of(bench, method, Placement(placement)).adapt(data, method.recipe)
    assert first.steps == STEPS
    assert first.initial_counts.set_pulses <= first.counts.set_pulses
    if written:
        assert 0 < first.initial_cells_written < first.cells_written


def test_the_range_of_cells_holds_what_is_looked_at(bench, data):
    """Weights in cells are moved by epsilon times normal numbers: five deviations lie inside the range."""
    method = forward_only("lora", epsilon=0.25)
    trial = trial_of(bench, method, Placement.NVM_STEP)
    name = trial.trained_cells[0]
    of = lambda recipe: trial._range(name, trial._value(name), EXAMPLES, recipe)
    wide = of(method.recipe) - of(method.recipe.with_options(epsilon=0.05))
    np.testing.assert_allclose(wide, 5 * 0.2, rtol=1e-6)


def test_a_rate_of_zero_trains_nothing(bench):
    method = get_method("lorafusion")
    rates = dict(method.recipe.learning_rates) | {"magnitudes": 0.0, "head": 0.0}
    recipe = dataclasses.replace(with_optimiser(method.recipe, "mezo"), learning_rates=rates)
    adaptation = dataclasses.replace(method, recipe=recipe).attach(
        bench.backbone, CLASSES, np.random.default_rng(0), pool=bench.pool
    )
    assert adaptation.moving_names == ["coefficients"]
    assert adaptation.trained_parameters == 3 and adaptation.optimiser_macs == 4 * 3


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_an_optimiser_by_name(name):
    (variant, *_) = choose_variants((name,), {f"{name}.recipe.optimiser": "mezo"})
    recipe = variant.method.recipe
    assert recipe.optimiser.name == "mezo" and not recipe.optimiser.by_gradient
    assert recipe.learning_rates.keys() == METHODS[name].recipe.learning_rates.keys()
    require_readable([variant.method])


def test_options_of_the_optimiser_are_set_with_it():
    settings = {"recipe.queries": "4", "recipe.rule": "sign", "recipe.block_wise": "on", "recipe.optimiser": "mezo"}
    recipe = with_settings(get_method("pasta"), settings).recipe.optimiser
    assert (recipe.queries, recipe.rule, recipe.block_wise) == (4, "sign", True)
    for rule in RULES:
        ruled = with_settings(get_method("lora"), {"recipe.optimiser": "mezo", "recipe.rule": rule})
        assert ruled.recipe.optimiser.rule == rule


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipe.optimiser": "meso"}, "did you mean 'mezo'"),
        ({"recipe.queries": "2"}, "queries belongs to the optimiser mezo: set recipe.optimiser"),
        ({"recipe.momentum": "0.5"}, "belongs to the optimiser mezo and sgd"),
        ({"recipe.optimiser": "mezo", "recipe.rule": "sing"}, "did you mean 'sign'"),
        ({"recipe.optimiser": "mezo", "recipe.estimate": "three-sided"}, "allowed: " + ", ".join(sorted(ESTIMATES))),
        ({"recipe.optimiser": "mezo", "recipe.quaries": "2"}, "did you mean 'queries'"),
        ({"recipe.optimiser": "mezo", "recipe.queries": "many"}, "whole number"),
        ({"recipe.optimiser": "mezo", "recipe.epsilon": "0"}, "epsilon of a recipe must be above 0"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        with_settings(get_method("lorafusion"), settings)


def test_cells_have_no_forward_gradient():
    settings = {"lorafusion.recipe.optimiser": "mezo", "lorafusion.recipe.estimate": "forward-gradient"}
    with pytest.raises(UsageError, match="take two-sided or one-sided"):
        require_readable(v.method for v in choose_variants(("lorafusion",), settings))


def test_lorafusion_moves_its_coefficients_alone(bench):
    (variant,) = choose_variants(("lorafusion",), {"lorafusion.recipe.optimiser": "mezo"})
    adaptation = variant.method.attach(bench.backbone, CLASSES, np.random.default_rng(0), pool=bench.pool)
    assert adaptation.moving_names == ["coefficients"]
    settings = {"recipe.optimiser": "mezo", "recipe.learning_rates.magnitudes": "0.003"}
    assert with_settings(get_method("lorafusion"), settings).recipe.learning_rates["magnitudes"] == 0.003
