"""DSEE against peft (LoRA and SHiRA), its cells against its places, its decomposition against what was planted."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt import load_chip
from edge_adapt.errors import UsageError
from edge_adapt.methods import Placement, get_method
from edge_adapt.methods.decompose import low_rank_and_sparse, support
from edge_adapt.methods.plan import Size
from edge_adapt.methods.training.trainer import train
from edge_adapt.simulator import program
from edge_adapt.simulator.autograd import ChipReader
from edge_adapt.studies.count import Counter, count
from edge_adapt.studies.count_config import CountConfig
from edge_adapt.studies.samples import program_sample
from edge_adapt.workloads.named_shapes import load_shape

PLACES = get_method("dsee").placements


def attach(backbone, placement=Placement.DIGITAL, still="", **options):
    """The method on a backbone with its state drawn at random, but for `still`, which stays as it is."""
    adaptation = get_method("dsee", **options).attach(backbone, 3, np.random.default_rng(0), placement=placement)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in adaptation.state.items():
            drawn = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            if not (still and name.endswith(still)):
                parameter.copy_(drawn)
    return adaptation


def linears(adaptation):
    """Its linears with a sparse update, by name."""
    return {m.cell_name: m for m in adaptation.module.modules() if hasattr(m, "columns")}


def features_of(model, ids, mask):
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("placement", PLACES)
def test_without_its_sparse_part_it_is_a_lora(backbone, examples, placement):
    peft = pytest.importorskip("peft")
    adaptation = attach(backbone, placement, still=".sparse", rank=3, alpha=6.0, sparse=10)
    config = peft.LoraConfig(r=3, lora_alpha=6.0, lora_dropout=0.0, target_modules=["query", "value"])
    model = peft.get_peft_model(copy.deepcopy(backbone.module), config, autocast_adapter_dtype=False).eval()
    theirs = {}
    for name in backbone.target_names():
        layer = model.base_model.model.get_submodule(name)
        theirs |= {f"{name}.lora_a": layer.lora_A["default"].weight, f"{name}.lora_b": layer.lora_B["default"].weight}
    with torch.no_grad():
        for name, parameter in theirs.items():
            parameter.copy_(adaptation.state[name])
    ids, mask, _ = examples.tensors()
    got, expected = adaptation.module.features(ids, mask), features_of(model, ids, mask)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
    got.square().sum().backward()
    expected.square().sum().backward()
    for name, parameter in theirs.items():
        torch.testing.assert_close(adaptation.state[name].grad, parameter.grad, rtol=1e-8, atol=1e-10)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("placement", PLACES)
def test_without_its_low_rank_part_it_is_shira(backbone, examples, placement):
    """peft trains r (in + out) single weights of each linear, here at the places of S."""
    peft = pytest.importorskip("peft")
    adaptation = attach(backbone, placement, still=".lora_b", rank=2, alpha=2.0, sparse=32)
    config = peft.ShiraConfig(r=1, target_modules=["query", "value"], random_seed=0)
    model = peft.get_peft_model(copy.deepcopy(backbone.module), config, autocast_adapter_dtype=False).eval()
    theirs = {}
    for name, linear in linears(adaptation).items():
        layer = model.base_model.model.get_submodule(name)
        layer.shira_indices["default"] = torch.stack([linear.rows, linear.columns]).int()
        layer.shira_weight["default"].data = adaptation.state[f"{name}.sparse"].detach().clone()
        theirs[name] = layer.shira_weight["default"]
    ids, mask, _ = examples.tensors()
    got, expected = adaptation.module.features(ids, mask), features_of(model, ids, mask)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-9)
    got.square().sum().backward()
    expected.square().sum().backward()
    for name, parameter in theirs.items():
        torch.testing.assert_close(adaptation.state[f"{name}.sparse"].grad, parameter.grad, rtol=1e-7, atol=1e-9)


def test_all_placements_compute_the_same(backbone, examples):
    """A sparse product, the weights themselves, or weights that were written before and a product of the rest."""
    ids, mask, labels = examples.tensors()
    found = []
    for placement in PLACES:
        adaptation = attach(backbone, placement, sparse=20)
        logits = adaptation.module(ids, mask)
        loss = F.cross_entropy(logits, labels)
        found.append((logits, torch.autograd.grad(loss, [adaptation.state[n] for n in adaptation.trained_names])))
        if placement is Placement.NVM_TASK:
            adaptation.wrote()
            torch.testing.assert_close(adaptation.module(ids, mask), logits, rtol=1e-10, atol=1e-10)
            with torch.no_grad():
                adaptation.state[f"{backbone.target_names()[0]}.sparse"] += 0.5
            assert not torch.allclose(adaptation.module(ids, mask), logits)
    for other in found[1:]:
        torch.testing.assert_close(other[0], found[0][0], rtol=1e-10, atol=1e-10)
        for one, two in zip(other[1], found[0][1], strict=True):
            torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("how", ["decomposed", "largest", "random"])
def test_places_are_as_many_as_asked_for_and_stay(backbone, examples, how):
    adaptation = get_method("dsee", sparse=9, support=how).attach(backbone, 3, np.random.default_rng(0))
    before = {name: (x.rows.clone(), x.columns.clone()) for name, x in linears(adaptation).items()}
    assert {len(set(zip(*map(torch.Tensor.tolist, at), strict=True))) for at in before.values()} == {9}
    train(adaptation, examples.encoded, examples.labels, np.random.default_rng(1))
    for name, linear in linears(adaptation).items():
        assert torch.equal(linear.rows, before[name][0]) and torch.equal(linear.columns, before[name][1])
        changed = (linear.merged(4.0) != linear.weight).nonzero()
        assert changed.tolist() == torch.stack(before[name], 1).tolist()


def test_the_largest_weights_are_numpys(backbone):
    weight = backbone.module.get_submodule(backbone.target_names()[0]).weight
    rows, columns = support(weight, 7, 2, "largest", torch.Generator())
    flat = np.argsort(-np.abs(weight.detach().numpy()).ravel(), kind="stable")[:7]
    assert sorted((rows * 16 + columns).tolist()) == sorted(flat.tolist())


def test_the_decomposition_finds_what_was_planted():
    """Ten single weights on top of a matrix of rank 2 that is larger than they are."""
    rng = np.random.default_rng(3)
    low = 3.0 * rng.standard_normal((40, 2)) @ rng.standard_normal((2, 30))
    planted = rng.choice(1200, 10, replace=False)
    weight = torch.from_numpy(low + 1e-4 * rng.standard_normal((40, 30)))
    weight.view(-1)[planted] += 2.0
    found, sparse, left_over = low_rank_and_sparse(weight, 2, 10, rounds=20)
    assert left_over[-1] < 1e-3 * left_over[0]
    assert np.linalg.matrix_rank(found.numpy(), tol=1e-6) == 2 and int((sparse != 0).sum()) == 10
    assert sparse.flatten().nonzero().flatten().tolist() == sorted(planted.tolist())
    largest = support(weight, 10, 2, "largest", torch.Generator())
    assert sorted((largest[0] * 30 + largest[1]).tolist()) != sorted(planted.tolist())


def test_less_is_left_after_every_step(backbone):
    for name in backbone.target_names():
        weight = backbone.module.get_submodule(name).weight.detach()
        low, sparse, left_over = low_rank_and_sparse(weight, 6, 20)
        assert len(left_over) == 6 * 3 and np.all(np.diff(left_over) <= 1e-12)
        # Below what the best matrix of this rank leaves, which Eckart and Young give.
        values = np.linalg.svd(weight.numpy(), compute_uv=False)
        assert float((weight - low - sparse).square().sum()) == pytest.approx(left_over[-1])
        assert left_over[-1] < (values[6:] ** 2).sum()


def test_only_its_cells_are_written(backbone, examples):
    """Of W, the cells of the chosen weights alone; and the model answers as before its cells took over."""
    single = replace(backbone, module=copy.deepcopy(backbone.module).float())
    adaptation = attach(single, Placement.NVM_TASK, sparse=12)
    weights = {name: tensor.detach().numpy() for name, tensor in adaptation.cell_tensors.items()}
    looking = load_chip("reram", {"write.unchanged": "verify"})
    model = program(looking, weights, np.random.default_rng(0), "ideal")
    reader = ChipReader(model)
    adaptation.use(reader)
    ids, mask, _ = examples.tensors()
    with torch.no_grad():
        before = adaptation.module(ids, mask)
        for name in adaptation.plan.backbone:
            if name in adaptation.holds:
                model.rewrite(name, adaptation.held(name).numpy())
        adaptation.wrote()
        torch.testing.assert_close(adaptation.module(ids, mask), before, rtol=1e-4, atol=1e-3)
    pulsed = 0
    for name, linear in linears(adaptation).items():
        written = model.matrix(name).writes_since_deployment().any((0, 1))[:, :16].T
        allowed = torch.zeros(16, 16, dtype=torch.bool)
        allowed[linear.rows, linear.columns] = True
        assert written.any() and not (written & ~allowed.numpy()).any()
        pulsed += int(written.sum())
    assert pulsed <= 4 * 12
    # On this chip every cell of the four matrices is looked at, whether it changes or not.
    assert model.counts.verify_conversions >= sum(model.matrix(name).layout.cells for name in linears(adaptation))


@pytest.mark.parametrize("unchanged", ["skip", "verify"])
def test_single_cells_do_not_share_their_turns(unchanged):
    """`count`: as many pulses a changed cell as elsewhere, and many more turns."""
    chip = load_chip("reram", {"write.unchanged": unchanged})
    counter = Counter(chip, program_sample(chip))
    plan = get_method("dsee").plan(load_shape("bert-base-uncased"), placement="NVM_STEP")
    tensor = next(t for t in plan.tensors.values() if t.changing)
    few, every = counter.steps([(tensor.shape, tensor.changing_share)], 1), counter.steps([(tensor.shape, 1.0)], 1)
    assert few.cells_written / every.cells_written == pytest.approx(64 / 768**2, rel=0.5)
    looks = few.verify_conversions - few.set_pulses - few.reset_pulses
    assert looks == pytest.approx(2 * (64 if unchanged == "skip" else 768**2), rel=0.3 if unchanged == "skip" else 1e-3)
    assert few.pulse_turns / few.cells_written > 10 * every.pulse_turns / every.cells_written


def test_counts():
    """The paper's 589,824 numbers of the LoRA and 64 of each of 24 matrices."""
    counted = get_method("dsee").count(load_shape("bert-base-uncased"))
    assert counted.trained == {"matrices": 589_824, "sparse": 24 * 64}
    assert counted.trained_parameters == counted.cells_trained == 591_360
    report = count(CountConfig(model="bert-base-uncased", method=("dsee", "lora")))
    by_name = {(r["method"], r["placement"]): r for r in report["results"]}
    assert by_name["dsee", "DIGITAL"]["cells_written"] == 0
    for place in ("NVM_TASK", "NVM_STEP"):
        one, other = by_name["dsee", place]["cells_written"], by_name["lora", place]["cells_written"]
        assert 1 < one / other < 1.02
        reads = [by_name[name, place]["inference_event_counts"]["reads"] for name in ("dsee", "lora")]
        assert reads[0] == reads[1]


def test_the_digital_work(backbone):
    """A product for each number of S; on the way back two, of which those in front of frozen embeddings are spared."""
    numbers, lora = 4 * 64, 4 * 16 * 32
    plans = {place: get_method("dsee").plan(backbone.shape, Size(classes=3), place) for place in PLACES}
    assert plans[Placement.DIGITAL].own_work.per_token == lora + numbers
    assert plans[Placement.NVM_TASK].own_work.per_token == 0 == plans[Placement.NVM_STEP].own_work.per_token
    assert plans[Placement.DIGITAL].training_work == plans[Placement.NVM_TASK].training_work
    passed = lora - 2 * 16 * 16
    assert plans[Placement.DIGITAL].backward_work.per_token == lora + passed + 2 * numbers - 2 * 64
    assert plans[Placement.NVM_STEP].backward_work.per_token == lora + numbers


# --- the pruning stage
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("placement", PLACES)
def test_it_starts_from_the_pruned_backbone(backbone, examples, placement):
    """Every matrix of it, those that are not adapted too; S keeps the places that the whole backbone shows."""
    thin = get_method("dsee", density=0.5).attach(backbone, 3, np.random.default_rng(0), placement=placement)
    whole = get_method("dsee").attach(backbone, 3, np.random.default_rng(0), placement=placement)
    pruned = get_method("pruned", density=0.5).attach(backbone, 3, np.random.default_rng(0))
    ids, mask, _ = examples.tensors()
    assert torch.equal(thin.module.features(ids, mask), pruned.module.features(ids, mask))
    assert list(thin.plan.kept_weights) == backbone.linear_names() and not whole.plan.kept_weights
    for name, linear in linears(whole).items():
        other = linears(thin)[name]
        assert torch.equal(linear.rows, other.rows) and torch.equal(linear.columns, other.columns)
    for name, parameter in whole.state.items():
        assert torch.equal(parameter, thin.state[name])


def test_training_changes_no_pruned_weight_but_at_its_places(backbone, examples):
    adaptation = get_method("dsee", density=0.5, sparse=20, support="random").attach(
        backbone, 3, np.random.default_rng(0), placement=Placement.NVM_STEP
    )
    before = {name: adaptation.held(name).clone() for name in adaptation.plan.backbone}
    train(adaptation, examples.encoded, examples.labels, np.random.default_rng(1))
    woken = 0
    for name, weight in before.items():
        found = adaptation.held(name)
        changed = found != weight
        assert int(changed.sum()) == (20 if name in linears(adaptation) else 0)
        woken += int((changed & (weight == 0)).sum())
    assert 10 < woken < 70  # of 80 random places, half


def test_what_cannot_be_is_refused():
    for options, message in (
        ({"rank": 0}, "rank of dsee must be at least 1; got 0"),
        ({"sparse": 0}, "sparse of dsee must be at least 1; got 0"),
        ({"alpha": 0.0}, "alpha of dsee must be above 0; got 0.0"),
        ({"density": 0.0}, "density of dsee must be above 0, and 1 at most; got 0.0"),
        ({"support": "larges"}, "did you mean 'largest'"),
        ({"targets": "querry"}, "did you mean 'query'"),
    ):
        with pytest.raises(UsageError, match=message):
            get_method("dsee", **options)
