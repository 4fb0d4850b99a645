"""DyLoRA against peft, the authors' scales, a separate AdamW for each rank, and LoRA's writes."""

import copy
import dataclasses
import itertools
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt import load_chip
from edge_adapt.errors import UsageError
from edge_adapt.methods import Placement, get_method
from edge_adapt.methods.spec import require_in_bundles
from edge_adapt.methods.training.trainer import train
from edge_adapt.methods.training.zeroth import replay
from edge_adapt.methods.turns import Moved
from edge_adapt.simulator import program
from edge_adapt.studies.count import Counter, adaptation_events
from edge_adapt.studies.count_config import CountConfig
from edge_adapt.studies.encoding import Encoded
from edge_adapt.studies.samples import program_sample
from edge_adapt.studies.trial import ChipTrial
from edge_adapt.studies.workbench import Variant
from edge_adapt.workloads.named_shapes import load_shape
from peft import LoraConfig, inject_adapter_in_model

RANK, ALPHA = 4, 8.0
STEP = Placement.NVM_STEP


def attach(backbone, placement=Placement.DIGITAL, drawn=True, **options):
    """The method with both matrices of every pair drawn at random, unless told otherwise."""
    options = {"rank": RANK, "alpha": ALPHA} | options
    adaptation = get_method("dylora", **options).attach(backbone, 3, np.random.default_rng(0), placement=placement)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in adaptation.state.values() if drawn else ():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return adaptation


def peft_model(backbone, adaptation, used):
    """peft's LoRA of the first ranks, with the same numbers: its scale is alpha over its rank."""
    config = LoraConfig(r=used, lora_alpha=ALPHA, target_modules=["query", "value"])
    model = inject_adapter_in_model(config, copy.deepcopy(backbone.module)).double().eval()
    with torch.no_grad():
        for name in backbone.target_names():
            layer = model.get_submodule(name)
            layer.lora_A["default"].weight.copy_(adaptation.state[f"{name}.lora_a"][:used])
            layer.lora_B["default"].weight.copy_(adaptation.state[f"{name}.lora_b"][:, :used])
    return model


def features_of(model, ids, mask):
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


@pytest.mark.parametrize("used", [1, 2, 3, RANK])
@pytest.mark.parametrize("placement", [Placement.DIGITAL, STEP])
def test_deployed_at_a_rank_it_is_the_lora_of_that_rank(backbone, examples, used, placement):
    ids, mask, _ = examples.tensors()
    adaptation = attach(backbone, placement, deploy_rank=used)
    expected = features_of(peft_model(backbone, adaptation, used), ids, mask)
    torch.testing.assert_close(adaptation.module.features(ids, mask), expected, rtol=0, atol=1e-11)
    if used == RANK:
        whole = attach(backbone, placement).module.features(ids, mask)
        assert torch.equal(whole, adaptation.module.features(ids, mask))


@pytest.mark.parametrize("b", range(RANK))
def test_gradient_of_a_step_is_that_of_one_row_and_one_column_of_pefts(backbone, examples, b):
    """b counts from 0: b + 1 ranks are used, and the scale is alpha / (b + 1) (sqrt(R / (b + 1)) twice, alpha / R)."""
    ids, mask, labels = examples.tensors()
    adaptation = attach(backbone)
    model = peft_model(backbone, adaptation, b + 1)
    head = {name: adaptation.state[f"head.{name}"].detach() for name in ("weight", "bias")}
    F.cross_entropy(F.linear(features_of(model, ids, mask), **head), labels).backward()
    with adaptation.module.turns.taking(b):
        F.cross_entropy(adaptation.module(ids, mask), labels).backward()
    for name in backbone.target_names():
        layer = model.get_submodule(name)
        for own, theirs, axis in (("lora_a", "lora_A", 0), ("lora_b", "lora_B", 1)):
            got, expected = adaptation.state[f"{name}.{own}"].grad, getattr(layer, theirs)["default"].weight.grad
            torch.testing.assert_close(got.select(axis, b), expected.select(axis, b), rtol=0, atol=1e-11)
            got.select(axis, b).zero_()
            assert not got.any()


def lines_that_differ(names, before, after):
    """Rows of A and columns of B that differ, for each linear: they must be the same ones."""
    found = []
    for name in names:
        rows = (before[f"{name}.lora_a"] != after[f"{name}.lora_a"]).any(1).nonzero().flatten().tolist()
        columns = (before[f"{name}.lora_b"] != after[f"{name}.lora_b"]).any(0).nonzero().flatten().tolist()
        assert rows == columns
        found.append(rows)
    return found


@pytest.mark.parametrize("optimiser", ["adamw", "sgd", "mezo"])
def test_a_step_moves_one_row_and_one_column_whatever_the_optimiser_remembers(backbone, examples, optimiser):
    """Momentum and decay would move all the others. In 16 steps each rank has a turn."""
    adaptation, names, turns = attach(backbone), backbone.target_names(), []
    states = [adaptation.state_dict()]

    def look(_step):
        states.append(adaptation.state_dict())
        lines = lines_that_differ(names, *states[-2:])
        assert all(line == lines[0] and len(line) == 1 for line in lines)
        turns.append(lines[0][0])

    recipe = adaptation.recipe.with_options(optimiser=optimiser, epochs=8, weight_decay=0.1)
    log = train(adaptation, examples.encoded, examples.labels, np.random.default_rng(1), recipe=recipe, on_step=look)
    assert set(turns) == set(range(RANK))
    if optimiser == "mezo":
        assert [look.turn for look in log.looks] == turns
        again = attach(backbone)
        replay(again, recipe, log.start, log.looks)
        assert all(torch.equal(value, again.state[name]) for name, value in states[-1].items())


def test_the_moments_of_a_rank_are_those_of_its_own_turns(backbone):
    """An AdamW of torch for each row of an A alone, given the same gradient when it is its turn."""
    adaptation, rng = attach(backbone), np.random.default_rng(2)
    matrix = adaptation.state[f"{backbone.target_names()[0]}.lora_a"]
    moved = Moved(adaptation, adaptation.parameter_groups())
    ours = adaptation.recipe.optimiser.make(moved.groups, 0.1)
    rows = [torch.nn.Parameter(row.clone()) for row in matrix.detach()]
    rate = adaptation.recipe.learning_rates["matrices"]
    theirs = [torch.optim.AdamW([row], lr=rate, weight_decay=0.1) for row in rows]
    for _ in range(12):
        turn, gradient = int(rng.integers(RANK)), torch.from_numpy(rng.standard_normal(matrix.shape))
        matrix.grad, rows[turn].grad = gradient, gradient[turn].clone()
        moved.hand_over(turn)
        ours.step()
        theirs[turn].step()
        assert torch.equal(matrix, torch.stack(rows))


@pytest.fixture(scope="module")
def small():
    """A float32 encoder, its chip, and examples of one length."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=32,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(5)
        module = BertModel(config, add_pooling_layer=False).eval()
    ids = np.random.default_rng(3).integers(1, 38, (24, 6)).tolist()
    return module, load_chip("reram"), Encoded([[38, *row, 39] for row in ids], [i % 3 for i in range(24)])


def on_chip(small, backbone, name, **options):
    """A trial that has adapted with NVM_STEP, and what it cost."""
    module, chip, data = small
    backbone = replace(backbone, module=module)
    bench = SimpleNamespace(backbone=backbone, classes=3, pool=None, chip=chip)
    method = get_method(name, rank=RANK, alpha=ALPHA, **options)
    method = replace(method, recipe=method.recipe.with_options(epochs=4))
    linears = dict(module.named_modules())
    base = program(
        chip, {n: linears[n].weight.detach().numpy() for n in backbone.linear_names()}, np.random.default_rng(0)
    )
    trial = ChipTrial(bench, Variant(method, STEP), base, 8, 0)
    trial.deploy(data)
    return trial, trial.adapt(data, method.recipe), data


def test_a_step_on_a_chip_writes_one_row_and_one_column(small, backbone):
    """Nothing else is looked at: LoRA's looks of every step, over R. Pulses go to what changed its level."""
    dylora, lora = on_chip(small, backbone, "dylora"), on_chip(small, backbone, "lora")
    looks, written = [], []
    for _, cost, _ in (dylora, lora):
        assert cost.steps == 8
        looks.append(cost.counts.verify_conversions - cost.initial_counts.verify_conversions)
        written.append(cost.cells_written - cost.initial_cells_written)
    cells = sum(dylora[0].model.matrix(name).layout.cells for name in dylora[0].trained_cells)
    pulses = [cost.counts.set_pulses - cost.initial_counts.set_pulses for _, cost, _ in (dylora, lora)]
    assert looks[0] >= 8 * cells / RANK
    assert looks[0] < 0.5 * looks[1]
    assert 0 < written[0] <= 8 * cells / RANK
    assert written[0] < 0.5 * written[1]
    assert pulses[0] < 0.5 * pulses[1]
    at_most = max(int(dylora[0].model.matrix(name).writes.max()) for name in dylora[0].trained_cells)
    assert at_most <= 8


def test_another_rank_is_deployed_without_a_rewrite(small, backbone):
    trial, _, data = on_chip(small, backbone, "dylora")
    before, seen = dataclasses.replace(trial.model.counts), []
    for used in range(1, RANK + 1):
        for module in trial.adaptation.module.modules():
            if hasattr(module, "lora_a"):
                module.change = partial(module.change, deployed=used)
        seen.append(trial.features(data)[0])
    assert trial.model.counts.verify_conversions == before.verify_conversions
    assert trial.model.counts.cells_written == before.cells_written
    assert all(not torch.equal(one, other) for one, other in itertools.pairwise(seen))


def test_counted_writes_are_those_of_lora_over_the_rank():
    """Of every step, on an array that holds whole rows: the first writes are LoRA's."""
    shape, chip = load_shape("minilm"), load_chip("reram")
    counter, config = Counter(chip, program_sample(chip)), CountConfig(examples=64, tokens=20, classes=2)
    written = {}
    for name in ("lora", "dylora"):
        method = get_method(name, rank=8)
        for epochs in (0, 4):
            recipe = method.recipe.with_options(epochs=epochs)
            plan = replace(method, recipe=recipe).plan(shape, placement=STEP)
            written[name, epochs] = adaptation_events(config, counter, plan)[0].cells_written
    steps = {name: written[name, 4] - written[name, 0] for name in ("lora", "dylora")}
    assert written["lora", 0] == pytest.approx(written["dylora", 0])
    assert steps["dylora"] == pytest.approx(steps["lora"] / 8, rel=1e-6)


def test_parameters_are_those_of_lora():
    shape = load_shape("bert-base-uncased")
    count = get_method("dylora").count(shape, rank=8)
    assert count.trained_parameters == count.cells_trained == 294_912


def test_refusals():
    with pytest.raises(UsageError, match="deploy_rank of dylora must be 1 to 4, its rank, or 0 for all; got 5"):
        get_method("dylora", rank=4, deploy_rank=5)
    with pytest.raises(UsageError, match=r"dylora.*trains another rank in every step"):
        require_in_bundles(get_method("dylora"))
