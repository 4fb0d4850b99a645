"""Zeroth-order training: estimates against exact gradients, what a step changes, a run made again from its looks."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt.errors import UsageError
from edge_adapt.methods import METHODS, get_method
from edge_adapt.methods.recipes import Recipe, with_optimiser
from edge_adapt.methods.training.optimisers.mezo import RULES, Mezo
from edge_adapt.methods.training.optimisers.sgd import Sgd
from edge_adapt.methods.training.run import Run
from edge_adapt.methods.training.strategies import known
from edge_adapt.methods.training.trainer import evaluate, train
from edge_adapt.methods.training.zeroth import ZerothStepper, replay
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

TEXT = {name: method for name, method in METHODS.items() if "text" in method.kinds}
EVERY = [pytest.param(name, place, id=f"{name}-{place}") for name, m in TEXT.items() for place in m.placements]


class Bowl:
    """Stands in for an adaptation: two tensors, and a loss that is exactly the quadratic 1 + (p - c) H (p - c) / 2."""

    method = "bowl"
    plan = SimpleNamespace(
        block_paths=("layer.0", "layer.1"),
        tensors={name: SimpleNamespace(slice_axis=None) for name in ("layer.0.a", "layer.1.b")},
    )  # fmt: skip
    module = SimpleNamespace(turns=None)

    def __init__(self, seed=0, rates=(1.0, 1.0)):
        generator = torch.Generator().manual_seed(seed)
        draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
        self.state = {"layer.0.a": nn.Parameter(draw(3)), "layer.1.b": nn.Parameter(draw(2, 2))}
        root = draw(7, 7)
        self.hessian, self.centre = root @ root.T / 7, draw(7)
        self.rates = rates

    def parameter_groups(self, _recipe):
        return [{"params": [p], "lr": rate} for p, rate in zip(self.state.values(), self.rates, strict=True)]

    def state_dict(self):
        return {name: value.detach().clone() for name, value in self.state.items()}

    def regulariser(self, _recipe, _state=None):
        return torch.zeros(())

    def loss(self):
        away = torch.cat([p.flatten() for p in self.state.values()]) - self.centre
        return 1 + away @ self.hessian @ away / 2

    def logits(self, _changed=None):
        """Two classes, of which the first has this loss: -log(1 / (1 + e^u)) with u = log(e^loss - 1)."""
        loss = self.loss()
        return torch.stack([torch.zeros((), dtype=torch.float64), loss + torch.log(-torch.expm1(-loss))])[None]

    def gradients(self):
        return torch.autograd.grad(self.loss(), list(self.state.values()))


FIRST = torch.tensor([0])


def stepper(bowl, on_change=lambda: None, seed=0, steps=10**9, **options):
    optimiser = Mezo(**({"normalise": False} | options))
    run = Run(bowl, Recipe({}, optimiser=optimiser), np.random.default_rng(seed), on_change=on_change)
    return ZerothStepper(run, optimiser, steps)


def estimates(count, rates=(1e-14, 1e-14), **options):
    """`count` estimates (count, 7) of the bowl's gradient, each from a seed of its own."""
    bowl = Bowl(rates=rates)
    walker = stepper(bowl, **options)
    found = []
    for _ in range(count):
        walker.step(bowl.logits, FIRST)
        found.append(torch.cat([p.grad.flatten() for p in bowl.state.values()]))
    return torch.stack(found), torch.cat([g.flatten() for g in bowl.gradients()])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"directions": "signs"},
        {"queries": 3},
        {"block_wise": True},
        {"sparsity": 0.5},
        {"estimate": "one-sided", "epsilon": 1e-6},
    ],
    ids=str,
)
def test_the_estimate_is_the_gradient_on_average(options):
    found, exact = estimates(1000, **options)
    error = found.std(0) / math.sqrt(len(found))
    assert ((found.mean(0) - exact).abs() < 4 * error).all()


def test_groups_are_measured_in_units_of_their_rates():
    found, exact = estimates(3000, rates=(1e-14, 1e-15))
    units = torch.tensor([1.0] * 3 + [0.1] * 4, dtype=torch.float64)
    error = found.std(0) / math.sqrt(len(found))
    assert ((found.mean(0) - units * exact).abs() < 4 * error).all()


def test_variance_falls_with_the_queries():
    variances = {q: estimates(n, queries=q)[0].var(0).sum().item() for q, n in ((1, 3000), (4, 1000), (16, 300))}
    assert variances[1] / variances[4] == pytest.approx(4, rel=0.2)
    assert variances[1] / variances[16] == pytest.approx(16, rel=0.2)


def test_blocks_and_signs_have_less_variance():
    """Normal numbers: tr(V) = (d + 1) |g|^2; signs: (d - 1) |g|^2; one block at a time: only the block's own d."""
    (normal, exact), (signs, _), (blocks, _) = (
        estimates(2000, **options) for options in ({}, {"directions": "signs"}, {"block_wise": True})
    )
    square = exact.square().sum().item()
    assert normal.var(0).sum().item() == pytest.approx(8 * square, rel=0.15)
    assert signs.var(0).sum().item() == pytest.approx(6 * square, rel=0.15)
    parts = 4 * exact[:3].square().sum() + 5 * exact[3:].square().sum()
    assert blocks.var(0).sum().item() == pytest.approx(parts.item(), rel=0.15)


def test_a_step_of_mezo_by_hand():
    """Equal rates, normal directions: p <- p - rate g z, the quadratic's slope being exact for any epsilon."""
    bowl = Bowl(rates=(0.05, 0.05))
    start, gradients = bowl.state_dict(), bowl.gradients()
    walker = stepper(bowl, steps=10)
    walker.step(bowl.logits, FIRST)
    (look,) = walker.log.looks
    (z,) = walker.directions(look.seed)
    slope = sum((g * along).sum() for g, along in zip(gradients, z, strict=True)).item()
    assert look.weights == (pytest.approx(slope, rel=1e-6),)
    for (name, p), along in zip(bowl.state.items(), z, strict=True):
        torch.testing.assert_close(p.detach(), start[name] - 0.05 * look.weights[0] * along, rtol=0, atol=1e-15)


def test_a_step_changes_the_numbers_four_times():
    """Forth, back beyond the start, to the start (bit for bit), and by the update."""
    bowl = Bowl(rates=(0.01, 0.01))
    start, seen = bowl.state_dict(), []
    walker = stepper(bowl, lambda: seen.append(bowl.state_dict()), epsilon=0.125)
    walker.step(bowl.logits, FIRST)
    (z,) = walker.directions(walker.log.looks[0].seed)
    assert len(seen) == 4
    for (name, begin), along in zip(start.items(), z, strict=True):
        torch.testing.assert_close(seen[0][name], begin + 0.125 * along)
        torch.testing.assert_close(seen[1][name], begin - 0.125 * along)
        assert torch.equal(seen[2][name], begin)
        assert not torch.equal(seen[3][name], begin)


@pytest.mark.parametrize(
    ("options", "passes", "changes"),
    [
        ({}, 2, 4),
        ({"queries": 3}, 6, 10),
        ({"block_wise": True}, 4, 7),
        ({"estimate": "one-sided", "queries": 3}, 4, 7),
        ({"rule": "conservative"}, 5, 7),
    ],
    ids=str,
)
def test_passes_and_changes_of_a_step(options, passes, changes):
    bowl, calls = Bowl(rates=(0.01, 0.01)), []
    assert stepper(bowl, lambda: calls.append(1), **options).step(bowl.logits, FIRST) == passes
    assert len(calls) == changes


@given(seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_conservative_steps_never_raise_the_loss(seed):
    bowl = Bowl(seed, rates=(0.3, 0.3))
    walker = stepper(bowl, seed=seed, rule="conservative", steps=100)
    for _ in range(5):
        before = bowl.loss().item()
        walker.step(bowl.logits, FIRST)
        assert bowl.loss().item() <= before


def test_sign_and_adam_move_every_number_by_the_rate():
    for rule in ("sign", "adam"):
        bowl = Bowl(rates=(0.01, 0.002))
        start = bowl.state_dict()
        stepper(bowl, rule=rule).step(bowl.logits, FIRST)
        for (name, p), rate in zip(bowl.state.items(), bowl.rates, strict=True):
            torch.testing.assert_close((p.detach() - start[name]).abs(), torch.full_like(p, rate), rtol=1e-4, atol=0)


def test_momentum_is_the_heavy_ball():
    bowl = Bowl(rates=(0.01, 0.01))
    walker, velocity = stepper(bowl, rule="momentum", momentum=0.5), torch.zeros(3, dtype=torch.float64)
    for _ in range(3):
        before = bowl.state["layer.0.a"].detach().clone()
        walker.step(bowl.logits, FIRST)
        velocity = 0.5 * velocity + bowl.state["layer.0.a"].grad
        torch.testing.assert_close(bowl.state["layer.0.a"].detach(), before - 0.01 * velocity)


def test_normalised_slopes_do_not_see_the_scale_of_the_loss():
    paths = []
    for scale in (1.0, 1000.0):
        bowl = Bowl(rates=(0.01, 0.01))
        bowl.hessian = bowl.hessian * scale
        bowl.loss = lambda bowl=bowl, plain=bowl.loss, scale=scale: plain() / scale if scale > 1 else plain()
        small = stepper(bowl, normalise=True, steps=50)
        for _ in range(20):
            small.step(bowl.logits, FIRST)
        paths.append(torch.cat([p.detach().flatten() for p in bowl.state.values()]))
    torch.testing.assert_close(paths[0], paths[1], rtol=1e-5, atol=1e-7)


def test_sparse_directions_keep_their_length():
    bowl = Bowl()
    walker = stepper(bowl, sparsity=0.75)
    drawn = torch.stack(
        [torch.cat([part.flatten() for part in z]) for seed in range(1000) for z in walker.directions(seed)]
    )
    assert (drawn == 0).double().mean().item() == pytest.approx(0.75, abs=0.01)
    assert drawn.var().item() == pytest.approx(1.0, rel=0.15)


@pytest.fixture
def fusion(backbone, make_pool):
    return get_method("lorafusion").attach(backbone, 3, np.random.default_rng(0), pool=make_pool())


def recipe_for(adaptation, **options):
    recipe = with_optimiser(adaptation.recipe, "mezo")
    return recipe.with_options(**({"epochs": 4, "batch_size": 12} | options))


@pytest.mark.parametrize("rule", RULES)
def test_a_run_is_its_start_and_its_looks(fusion, examples, rule):
    recipe = recipe_for(fusion, rule=rule, queries=2, block_wise=True, sparsity=0.2, weight_decay=0.01)
    log = train(fusion, examples.encoded, examples.labels, np.random.default_rng(1), recipe=recipe)
    ended = fusion.state_dict()
    assert any(not torch.equal(ended[name], log.start[name]) for name in ended)
    replay(fusion, recipe, log.start, log.looks)
    for name, value in fusion.state_dict().items():
        assert torch.equal(value, ended[name]), name


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_forward_gradient_is_the_exact_slope(fusion, examples):
    recipe = recipe_for(fusion, estimate="forward-gradient", normalise=False, queries=3, epochs=1, batch_size=24)
    recipe = dataclasses.replace(recipe, l1=0.7)
    run = Run(fusion, recipe, np.random.default_rng(0))
    log, walker = run.log, ZerothStepper(run, recipe.optimiser, 1)
    ids, mask, labels = examples.tensors()
    loss = F.cross_entropy(fusion.module(ids, mask), labels) + fusion.regulariser(recipe)
    gradients = torch.autograd.grad(loss, walker.parameters)

    def forward(changed):
        return torch.func.functional_call(fusion.module, changed or {}, (ids, mask))

    assert walker.step(forward, labels) == 6
    for z, weight in zip(walker.directions(log.looks[0].seed), log.looks[0].weights, strict=True):
        parts = zip(gradients, z, walker.units, strict=True)
        slope = sum(unit * (gradient * along).sum() for gradient, along, unit in parts).item()
        assert 3 * weight == pytest.approx(slope, rel=1e-9)


def test_reads_of_cells_have_no_forward_gradient(fusion, examples):
    class Read(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight):
            return F.linear(x, weight)

        @staticmethod
        def backward(ctx, gradient):
            return None, None

    fusion.use(lambda _name, x, weight: Read.apply(x, weight))
    recipe = recipe_for(fusion, estimate="forward-gradient")
    with pytest.raises(UsageError, match="take the two-sided one"):
        train(fusion, examples.encoded, examples.labels, np.random.default_rng(1), recipe=recipe)


@pytest.mark.parametrize(("name", "placement"), EVERY)
def test_every_method_trains_by_forward_passes_alone(backbone, make_pool, examples, name, placement):
    rng = np.random.default_rng(0)
    adaptation = METHODS[name].attach(backbone, 3, rng, placement=placement, pool=make_pool())
    recipe = recipe_for(adaptation, epochs=2 if adaptation.trained_names else 0)
    before, changes = adaptation.state_dict(), []

    def read(_name, x, weight):
        assert not torch.is_grad_enabled(), "a forward pass keeps something for a backward pass"
        return F.linear(x, weight)

    adaptation.use(read)
    log = train(
        adaptation, examples.encoded, examples.labels, rng, recipe=recipe, on_change=lambda: changes.append(1)
    )  # fmt: skip
    steps = 4 if adaptation.trained_names else 0
    assert (log.steps, len(log.losses), log.changes) == (steps, steps, 4 * steps)
    assert len(changes) == log.changes
    assert log.trained.tokens == log.trained.passes == 0
    tokens = sum(map(len, examples.encoded))
    if log.head_sequences:
        assert log.head_sequences == 2 * 2 * 24
        assert log.forward_only.tokens == tokens
    else:  # in steps, through the model, or on from hidden states that the first pass stored
        stepped = log.stored_only if adaptation.plan.cached else log.forward_only
        alone = 0 if adaptation.plan.cached else 1
        assert log.forward_only.tokens == (tokens if adaptation.plan.cached else stepped.tokens)
        assert stepped.tokens == (alone + 4 * bool(steps)) * tokens
        assert stepped.sequences == (alone + 4 * bool(steps)) * 24
    changed = {key for key, value in adaptation.state_dict().items() if not torch.equal(value, before[key])}
    assert changed >= set(adaptation.trained_names)
    assert all(parameter.grad is None for key, parameter in adaptation.state.items() if key not in changed)


def test_mezo_learns(backbone, make_pool):
    rng = np.random.default_rng(0)
    labels = [i % 3 for i in range(36)]
    encoded = [[38, *[1 + 13 * label] * int(rng.integers(3, 7)), 39] for label in labels]
    adaptation = get_method("lorafusion").attach(backbone, 3, rng, pool=make_pool())
    rates = {"coefficients": 0.1, "magnitudes": 0.02, "head": 0.1}
    recipe = recipe_for(adaptation, min_steps=150, batch_size=36, head_margin=0.1, learning_rates=rates)
    log = train(adaptation, encoded, labels, np.random.default_rng(1), recipe=recipe)
    assert np.mean(log.losses[-10:]) < 0.5 * np.mean(log.losses[:10])
    assert evaluate(adaptation, encoded, labels) > 0.9


def test_what_the_optimiser_keeps_and_computes(fusion):
    trained = sum(fusion.state[name].numel() for name in fusion.trained_names)
    total = sum(value.numel() for value in fusion.state.values())
    kept = {"adamw": 2, "sgd": 1, "proximal": 2, "mezo": 1}
    macs = {"adamw": 8, "sgd": 2, "proximal": 8, "mezo": 4}
    for optimiser, each in kept.items():
        fusion.recipe = with_optimiser(METHODS["lorafusion"].recipe, optimiser)
        assert fusion.state_bytes == 4 * (total + each * trained)
        assert fusion.optimiser_macs == macs[optimiser] * trained
    of_all = {"interpolation"}  # whose costs grow faster than the numbers: tests/methods/training/test_interpolation.py
    assert kept.keys() | of_all == known("optimiser").keys()
    fusion.recipe = fusion.recipe.with_options(rule="adam", queries=2)
    assert fusion.state_bytes == 4 * (total + 3 * trained)
    assert fusion.optimiser_macs == (6 + 8) * trained


def test_another_optimiser_keeps_the_shared_fields():
    recipe = METHODS["lora"].recipe
    assert with_optimiser(with_optimiser(recipe, "mezo"), "adamw") == recipe
    sgd = with_optimiser(recipe, "sgd")
    assert (sgd.optimiser.name, sgd.learning_rates, sgd.optimiser.momentum) == ("sgd", recipe.learning_rates, 0.9)
    with pytest.raises(UsageError, match="did you mean 'mezo'"):
        with_optimiser(recipe, "meso")


def test_sgd_is_gradient_descent(backbone, examples):
    """One step on all examples, compared with the gradient itself."""
    adaptation = get_method("pasta").attach(backbone, 3, np.random.default_rng(0))
    rates = {"vectors": 0.5, "head": 0.1}
    recipe = Recipe(rates, epochs=1, batch_size=24, clip_norm=1e9, optimiser=Sgd(momentum=0.0))
    names = adaptation.trained_names
    ids, mask, labels = examples.tensors()
    frozen = dataclasses.replace(recipe, epochs=0)
    train(adaptation, examples.encoded, examples.labels, np.random.default_rng(1), recipe=frozen)
    before = adaptation.state_dict()
    loss = F.cross_entropy(adaptation.module(ids, mask), labels)
    gradients = dict(zip(names, torch.autograd.grad(loss, [adaptation.state[n] for n in names]), strict=True))
    train(adaptation, examples.encoded, examples.labels, np.random.default_rng(1), recipe=recipe)
    for name, gradient in gradients.items():
        rate = rates["head" if name.startswith("head.") else "vectors"]
        expected = before[name] - rate * gradient
        torch.testing.assert_close(adaptation.state[name].detach(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "sing"}, "did you mean 'sign'"),
        ({"estimate": "two"}, "unknown estimate"),
        ({"directions": "gauss"}, "unknown directions"),
        ({"epsilon": 0.0}, "epsilon of a recipe must be above 0"),
        ({"queries": 0}, "queries of a recipe"),
        ({"sparsity": 1.0}, "sparsity of a recipe"),
        ({"momentum": -0.1}, "momentum of a recipe"),
        ({"batch_size": 0}, "batch_size of a recipe"),
    ],
)
def test_recipes_that_cannot_be(options, message):
    with pytest.raises(UsageError, match=message):
        with_optimiser(Recipe({}), "mezo", options)
    with pytest.raises(UsageError, match="momentum"):
        Sgd(momentum=1.0)


def test_nothing_to_move_and_losses_that_are_no_numbers(fusion, examples):
    recipe = recipe_for(fusion, learning_rates=dict.fromkeys(("coefficients", "magnitudes", "head"), 0.0))
    with pytest.raises(UsageError, match="every learning rate of lorafusion is 0"):
        train(fusion, examples.encoded, examples.labels, np.random.default_rng(1), recipe=recipe)
    with torch.no_grad():
        fusion.state["coefficients"].fill_(math.nan)
    with pytest.raises(UsageError, match="lower its learning rates"):
        train(fusion, examples.encoded, examples.labels, np.random.default_rng(1), recipe=recipe_for(fusion))
