"""SPDF against full fine-tuning and torch's own masks; which of its cells are written, and what it takes."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt import load_chip
from edge_adapt.errors import UsageError
from edge_adapt.methods import Placement, get_method
from edge_adapt.methods.recipes import with_optimiser
from edge_adapt.methods.training.trainer import train
from edge_adapt.simulator import program
from edge_adapt.simulator.counting import write_events
from edge_adapt.studies.count import count
from edge_adapt.studies.count_config import CountConfig
from edge_adapt.studies.encoding import Encoded
from edge_adapt.studies.trial import ChipTrial
from edge_adapt.studies.variants import Variant
from edge_adapt.workloads.named_shapes import load_shape
from torch.nn.utils import prune

MODES = ("dense", "keep")
PLACES = get_method("spdf").placements
RECIPE = get_method("full").recipe


def attach(backbone, placement=Placement.NVM_TASK, name="spdf", recipe=None, **options):
    options |= {"recipe": recipe} if recipe else {}
    options = ({"density": 0.25} if name in ("spdf", "pruned") else {}) | options
    return get_method(name, **options).attach(backbone, 3, np.random.default_rng(0), placement=placement)


def trained(adaptation, examples):
    train(adaptation, examples.encoded, examples.labels, np.random.default_rng(1))
    return {name: adaptation.held(name) for name in adaptation.plan.backbone} | {
        name: parameter.detach() for name, parameter in adaptation.state.items() if name.endswith("bias")
    }


# --- training
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("placement", PLACES)
@pytest.mark.parametrize("mode", MODES)
def test_with_all_weights_it_is_full_fine_tuning(backbone, examples, mode, placement):
    """Dense bit for bit; keep holds the same numbers in another shape, whose norm is summed in another order."""
    recipe = RECIPE.with_options(epochs=3)
    full = trained(attach(backbone, placement, "full", recipe), examples)
    found = trained(attach(backbone, placement, density=1.0, mode=mode, recipe=recipe), examples)
    assert found.keys() == full.keys()
    for name, tensor in full.items():
        assert not torch.equal(tensor, torch.zeros_like(tensor))
        if mode == "dense":
            assert torch.equal(found[name], tensor), name
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_its_start_is_the_pruned_backbone(backbone, examples, mode):
    ids, mask, _ = examples.tensors()
    start = attach(backbone, Placement.DIGITAL, "pruned").module.features(ids, mask)
    assert torch.equal(attach(backbone, mode=mode).module.features(ids, mask), start)
    whole = attach(backbone, Placement.DIGITAL, "frozen").module.features(ids, mask)
    assert not torch.allclose(start, whole, atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_dense_wakes_zeros_and_keep_leaves_them(backbone, examples, mode):
    adaptation = attach(backbone, mode=mode)
    before = {name: adaptation.held(name).clone() for name in adaptation.plan.backbone}
    after = trained(adaptation, examples)
    for name, weight in before.items():
        zero, kept = weight == 0, adaptation.plan.kept_weights[name]
        assert int((~zero).sum()) == kept == round(0.25 * weight.numel())
        live = int(torch.count_nonzero(after[name]))
        assert live == (weight.numel() if mode == "dense" else kept)
        assert bool((after[name][zero] != 0).all()) == (mode == "dense")
        assert not torch.equal(after[name][~zero], weight[~zero])


def test_the_gradients_of_keep_are_those_of_torchs_masks(backbone, examples):
    """weight_orig times a mask, as torch prunes: the same loss, the same gradients, and none where it is zero."""
    adaptation, ids_mask_labels = attach(backbone, mode="keep"), examples.tensors()
    ids, mask, labels = ids_mask_labels
    module = copy.deepcopy(backbone.module)
    for name, kept in adaptation.plan.kept_weights.items():
        linear = module.get_submodule(name)
        prune.l1_unstructured(linear, "weight", amount=linear.weight.numel() - kept)
    hidden = module(input_ids=ids, attention_mask=mask).last_hidden_state
    features = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    ours = adaptation.module.features(ids, mask)
    torch.testing.assert_close(ours, features, rtol=0, atol=1e-12)
    weights = torch.randn(16, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for found in (ours, features):
        F.cross_entropy(found @ weights, labels).backward()
    for name in adaptation.plan.kept_weights:
        linear = module.get_submodule(name)
        gradient = linear.weight_orig.grad
        assert not gradient[linear.weight_mask == 0].any()
        got = adaptation.state[f"{name}.kept"].grad
        torch.testing.assert_close(got, gradient[linear.weight_mask == 1], rtol=1e-9, atol=1e-12)


def test_a_step_without_gradients_moves_kept_weights_alone(backbone, examples):
    recipe = with_optimiser(RECIPE.with_options(epochs=2), "mezo")
    adaptation = attach(backbone, mode="keep", recipe=recipe)
    zero = {name: adaptation.held(name) == 0 for name in adaptation.plan.backbone}
    after = trained(adaptation, examples)
    for name, places in zero.items():
        assert not after[name][places].any() and after[name][~places].all()


# --- cells
# ---------------------------------------------------------------------------------------------------------------------


def trial_of(backbone, examples, name, placement, epochs=1, rate=0.02, **options):
    """A method that has adapted on a small chip, and what that took. The rate is high: levels are to change."""
    chip = load_chip("reram", {"write.unchanged": "verify"})  # it looks at cells that it leaves alone
    single = replace(backbone, module=copy.deepcopy(backbone.module).float())
    bench = SimpleNamespace(backbone=single, classes=3, pool=None, chip=chip)
    weights = {n: single.module.get_submodule(n).weight.detach().numpy() for n in single.linear_names()}
    rates = {"matrices": rate, "biases": rate, "head": 0.01}
    recipe = replace(RECIPE, learning_rates=rates, epochs=epochs, batch_size=12)
    method = get_method(name, recipe=recipe, **({"density": 0.25} if name == "spdf" else {}) | options)
    base = program(bench.chip, weights, np.random.default_rng(2))
    trial = ChipTrial(bench, Variant(method, placement), base, 2, 0)
    data = Encoded(examples.encoded, examples.labels)
    before = {n: trial.model.matrix(n).writes.copy() for n in single.linear_names()}
    zero = {n: (trial.model.matrix(n).integers == 0).copy() for n in single.linear_names()}
    trial.deploy(data)
    cost = trial.adapt(data, method.recipe)
    pulsed = {n: trial.model.matrix(n).writes - before[n] for n in before}
    return SimpleNamespace(trial=trial, cost=cost, zero=zero, pulsed=pulsed, base=base, backbone=single)


@pytest.mark.parametrize("placement", PLACES)
def test_with_all_weights_a_chip_is_adapted_as_by_full_fine_tuning(backbone, examples, placement):
    """Read by read and write by write; the noise of a trial goes by its method's name, so outcomes differ by that."""
    one, other = (
        trial_of(backbone, examples, name, Placement(placement), epochs=0, **options)
        for name, options in (("full", {}), ("spdf", {"density": 1.0}))
    )
    assert other.trial.programmed is None
    left = {"cell_read_joules"}  # follows converters' noise
    for name, number in one.cost.counts.as_dict().items():
        if name not in left:
            assert other.cost.counts.as_dict()[name] == number, name
    for name in one.pulsed:
        held = [run.trial.model.effective_weight(name) for run in (one, other)]
        assert np.array_equal(*held)


@pytest.mark.parametrize("placement", PLACES)
@pytest.mark.parametrize("mode", MODES)
def test_which_cells_are_written(backbone, examples, mode, placement):
    """Keep pulses no cell of a pruned weight, dense wakes some. This chip looks at every cell in every write."""
    run = trial_of(backbone, examples, "spdf", placement, mode=mode)
    model, plan = run.trial.model, run.trial.adaptation.plan
    woken = pulses = 0
    for name, kept in plan.kept_weights.items():
        matrix = model.matrix(name)
        assert run.zero[name].sum() >= matrix.integers.size - kept
        healthy = ~matrix.stuck.any((0, 1))
        pruned = run.zero[name] & healthy & (run.trial.adaptation.held(name).numpy().T == 0)
        assert not run.pulsed[name][:, :, pruned].any()
        woken += int((matrix.integers != 0)[run.zero[name]].sum())
        pulses += int(run.pulsed[name].sum())
    assert pulses == run.cost.cells_written > 0
    assert woken > 100 if mode == "dense" else woken <= sum(int(z.sum()) for z in run.zero.values()) / 4
    looks = sum(model.matrix(name).layout.cells for name in plan.backbone)
    times = run.cost.steps if placement is Placement.NVM_STEP else 1
    assert run.cost.counts.verify_conversions >= times * looks > 0
    assert 0 < run.cost.writes_max <= times


def test_a_chip_of_its_own_is_programmed_with_fewer_pulses(backbone, examples):
    """From erased, as one that never held the whole model; the other methods' chip stays as it is."""
    run = trial_of(backbone, examples, "spdf", Placement.NVM_TASK, epochs=0)
    own, whole = run.trial.programmed, write_events(run.base.write_log)
    assert own.cells_written < 0.5 * whole.cells_written and own.pulse_joules < whole.pulse_joules
    looks = [counts.verify_conversions - counts.set_pulses - counts.reset_pulses for counts in (own, whole)]
    assert looks[0] == looks[1] == run.base.write_log.pulses.size  # every cell is looked at first
    for name in run.backbone.linear_names():
        weight = run.backbone.module.get_submodule(name).weight.detach().numpy()
        assert np.abs(run.base.effective_weight(name) - weight).mean() < 0.2 * np.abs(weight).mean()
        expected = np.where(np.abs(weight) < np.sort(np.abs(weight).ravel())[-round(weight.size / 4)], 0, weight)
        found = run.trial.model.effective_weight(name)
        assert np.abs(found - expected).mean() < 0.3 * np.abs(expected).mean()


# --- counts
# ---------------------------------------------------------------------------------------------------------------------


def test_counts():
    """BERT-base: 84,934,656 weights in its linears, 82,944 biases."""
    shape, weights, biases = load_shape("bert-base-uncased"), 84_934_656, 82_944
    assert shape.weights == weights
    full = get_method("full").count(shape)
    assert get_method("spdf").count(shape) == full and full.trained == {"matrices": weights, "biases": biases}
    keep = get_method("spdf", mode="keep").count(shape)
    assert keep.trained == {"matrices": weights // 2, "biases": biases}
    assert keep.cells_trained == weights // 2
    for placement in PLACES:
        plans = [get_method("spdf", mode=mode).plan(shape, placement=placement) for mode in MODES]
        assert sum(plans[0].kept_weights.values()) == sum(plans[1].kept_weights.values()) == weights // 2
        dense, sparse = (plan.state_bytes for plan in plans)
        assert dense - sparse == 4 * 3 * (weights - weights // 2)  # values and two moments of what is not trained
        assert plans[0].held_numbers == plans[1].held_numbers == 0
        spared = plans[0].backward_work.per_token - plans[1].backward_work.per_token
        assert spared == weights - weights // 2


def test_what_pruning_takes_and_spares():
    """Fewer pulses and less current; as many reads, conversions and arrays."""
    report = count(CountConfig(model="bert-base-uncased", method=("full", "spdf", "frozen", "pruned")))
    by_name = {(r["method"], r["placement"]): r for r in report["results"]}
    whole, thin = by_name["frozen", "DIGITAL"], by_name["pruned", "DIGITAL"]
    assert whole["own_programming_energy_joules"] is whole["own_programming_event_counts"] is None
    backbone = report["programming"]["backbone"]["energy_joules"]
    assert 0 < thin["own_programming_energy_joules"] < 0.9 * backbone
    assert "50 % of the weights of 72 matrices" in thin["note"] and "% of the weights" not in whole["note"]
    reads = [record["inference_event_counts"] for record in (whole, thin)]
    assert reads[0]["reads"] == reads[1]["reads"]
    assert reads[0]["read_conversions"] == reads[1]["read_conversions"]
    assert reads[1]["cell_read_joules"] < reads[0]["cell_read_joules"]
    assert thin["inference_energy_joules"] < whole["inference_energy_joules"]
    one, other = by_name["full", "NVM_STEP"], by_name["spdf", "NVM_STEP"]
    assert one["cells_in_placement"] == other["cells_in_placement"]
    assert one["adaptation_event_counts"]["verify_conversions"] == pytest.approx(
        other["adaptation_event_counts"]["verify_conversions"], rel=0.2
    )


def test_what_cannot_be_is_refused():
    for name in ("spdf", "pruned"):
        for density in (0.0, -0.5, 1.5, float("nan")):
            with pytest.raises(UsageError, match=f"density of {name} must be above 0, and 1 at most; got {density}"):
                get_method(name, density=density)
        with pytest.raises(UsageError, match=f"unknown mode of {name} 'kept'; did you mean 'keep'"):
            get_method(name, mode="kept")
