"""The search by linear models: known minima of quadratics, bounds, SciPy's COBYLA, and what a training does with it."""

import dataclasses
import re

import numpy as np
import pytest
import scipy.optimize
import torch
import torch.nn.functional as F
from edge_adapt.errors import UsageError
from edge_adapt.methods import METHODS, get_method
from edge_adapt.methods.placement import Placement
from edge_adapt.methods.recipes import with_optimiser
from edge_adapt.methods.training.box_search import BoxSearch
from edge_adapt.methods.training.optimisers.interpolation import Interpolation
from edge_adapt.methods.training.trainer import train
from edge_adapt.methods.training.zeroth import replay
from edge_adapt.studies.method_settings import with_settings
from edge_adapt.workloads.named_shapes import load_shape
from hypothesis import given, settings
from hypothesis import strategies as st


def searched(function, start, looks, radius=0.5, bound=1.5):
    """(point, value) of the best of so many looks, and all points that were looked at."""
    size = len(start)
    search, seen = BoxSearch(np.array(start, float), np.full(size, -bound), np.full(size, bound), radius), []
    for _ in range(looks):
        seen.append(search.ask().copy())
        search.tell(function(seen[-1]))
    assert function(search.best) == min(map(function, seen))
    return search.best, function(search.best), np.array(seen)


def quadratic(size, seed):
    """(function, minimum) of a quadratic whose minimum, 0, lies inside +-1.2."""
    rng = np.random.default_rng(seed)
    root, centre = rng.standard_normal((size, size)), rng.uniform(-1.2, 1.2, size)
    hessian = root @ root.T / size + 0.3 * np.eye(size)
    return lambda x: float((x - centre) @ hessian @ (x - centre)), centre


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("size", "looks", "left"), [(1, 20, 1e-5), (3, 40, 1e-3), (6, 40, 0.08), (6, 120, 1e-4)])
def test_the_minimum_of_a_quadratic_is_reached(size, looks, left, seed):
    """`left`: share of the first value that is left, of LoraHub's forty looks and of three times as many."""
    function, centre = quadratic(size, seed)
    point, value, _ = searched(function, np.zeros(size), looks)
    assert value <= left * function(np.zeros(size))
    assert looks < 100 or np.abs(point - centre).max() < 0.05


def test_it_is_as_good_as_that_of_scipy():
    """Quadratics of 3, 6 and 12 numbers, forty looks: what is left as a share of the start, by logarithm on average."""
    ours, theirs = [], []
    for size in (3, 6, 12):
        for seed in range(4):
            function, _ = quadratic(size, seed)
            seen = []
            scipy.optimize.minimize(
                lambda x, function=function, seen=seen: seen.append(function(np.clip(x, -1.5, 1.5))) or seen[-1],
                np.zeros(size), method="COBYLA", bounds=[(-1.5, 1.5)] * size, options={"maxiter": 40, "rhobeg": 0.5},
            )  # fmt: skip
            ours.append(np.log10(searched(function, np.zeros(size), 40)[1] / function(np.zeros(size))))
            theirs.append(np.log10(min(seen) / function(np.zeros(size))))
    assert np.mean(ours) < np.mean(theirs) + 0.3


@given(size=st.integers(1, 6), seed=st.integers(0, 2**31), radius=st.floats(0.05, 3.0))
@settings(max_examples=40, deadline=None)
def test_a_slope_ends_in_a_corner_and_no_point_is_outside(size, seed, radius):
    rng = np.random.default_rng(seed)
    slope = rng.choice([-1.0, 1.0], size) * rng.uniform(0.2, 1.0, size)
    point, _, seen = searched(lambda x: float(slope @ x), rng.uniform(-1.5, 1.5, size), 150, radius)
    assert (np.abs(seen) <= 1.5).all()
    np.testing.assert_allclose(point, -1.5 * np.sign(slope), rtol=0, atol=1e-6)


def test_a_minimum_on_the_bound_is_found():
    """The minimum of a bowl around (3, 0.2), inside +-1.5."""
    point, _, _ = searched(lambda x: (x[0] - 3) ** 2 + (x[1] - 0.2) ** 2, np.zeros(2), 40)
    np.testing.assert_allclose(point, (1.5, 0.2), rtol=0, atol=0.02)


def test_the_first_looks_go_along_the_axes_from_the_best():
    values = iter([1.0, 0.5, 0.8, 0.1])
    search, seen = BoxSearch(np.zeros(3), np.full(3, -1.5), np.full(3, 1.5), 0.5), []
    for value in values:
        seen.append(search.ask().tolist())
        search.tell(value)
    assert seen == [[0, 0, 0], [0.5, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5]]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_flat_loss_is_looked_at_to_the_end(value):
    searched(lambda x: value, np.zeros(4), 200)


def test_noise_breaks_nothing():
    rng = np.random.default_rng(0)
    search = BoxSearch(np.zeros(5), np.full(5, -1.0), np.full(5, 1.0), 0.5)
    for _ in range(300):
        point = search.ask()
        search.tell(float(np.square(point - 0.4).sum() + 0.3 * rng.standard_normal()))
    assert np.isfinite(search.points).all() and (np.abs(search.points) <= 1).all()


def test_a_training_looks_once_a_step_and_ends_at_the_best(backbone, make_pool, examples):
    """By hand: 40 forward passes of all examples and one for the head; every number changes twice a look."""
    fused = get_method("lorahub").attach(backbone, 3, np.random.default_rng(0), pool=make_pool())
    recipe, changes, read = fused.recipe.with_options(epochs=40), [], []

    def reader(name, x, weight):
        assert not torch.is_grad_enabled()
        read.append(name)
        return F.linear(x, weight)

    fused.use(reader)
    log = train(
        fused, examples.encoded, examples.labels, np.random.default_rng(1), recipe=recipe,
        on_change=lambda: changes.append(fused.state_dict()["coefficients"].flatten().tolist()),
    )  # fmt: skip
    tokens = sum(map(len, examples.encoded))
    assert (log.steps, log.step_passes, log.changes, len(changes)) == (40, 40, 80, 80)
    assert log.forward_only.tokens == 41 * tokens and log.trained.tokens == 0
    assert set(read) == set(fused.plan.read) and len(read) == 41 * len(fused.plan.read)
    best = int(np.argmin(log.losses))
    assert fused.state["coefficients"].flatten().tolist() == changes[2 * best] == changes[-1]
    assert log.losses[best] < log.losses[0] and all(np.abs(place).max() <= 1.5 for place in changes)


def test_groups_step_as_their_rates(backbone, make_pool, examples):
    """The first look along a number of a group goes as far as its rate is of the largest."""
    method = get_method("lorafusion", magnitude=False)
    fused = method.attach(backbone, 3, np.random.default_rng(0), pool=make_pool())
    rates = {"coefficients": 0.1, "head": 0.01}
    recipe = dataclasses.replace(
        fused.recipe, learning_rates=rates, epochs=8, batch_size=24, optimiser=Interpolation(radius=0.2)
    )
    seen = []
    train(
        fused, examples.encoded, examples.labels, np.random.default_rng(1), recipe=recipe,
        on_change=lambda: seen.append({name: value.clone() for name, value in fused.state_dict().items()}),
    )  # fmt: skip
    (moved,) = (seen[2]["coefficients"] - seen[0]["coefficients"]).abs().flatten().nonzero().tolist()
    assert (seen[2]["coefficients"] - seen[0]["coefficients"]).abs().max().item() == pytest.approx(0.2)
    head = (seen[14]["head.weight"] - seen[13]["head.weight"]).abs().max().item()
    assert head == pytest.approx(0.02) and moved


def test_what_it_is_not_for_is_refused(backbone, make_pool, examples):
    shape = load_shape("minilm")
    for name, words in (
        ("lora", "interpolation is for 500 numbers at most, and lora moves 148,226 on this model; take mezo"),
        ("dylora", "slices of dylora take turns; take mezo"),
    ):
        with pytest.raises(UsageError, match=words):
            dataclasses.replace(METHODS[name], recipe=with_optimiser(METHODS[name].recipe, "interpolation")).plan(shape)
    fused = get_method("lorahub").attach(backbone, 3, np.random.default_rng(0), pool=make_pool())
    small, read = fused.recipe.with_options(batch_size=23), []
    fused.use(lambda name, x, weight: read.append(name) or F.linear(x, weight))
    words = "compares losses of all 24 examples: set recipe.batch_size to that at least; got 23"
    with pytest.raises(UsageError, match=re.escape(words)):
        train(fused, examples.encoded, examples.labels, np.random.default_rng(0), recipe=small)
    assert not read
    still = dataclasses.replace(fused.recipe, learning_rates={"coefficients": 0.0, "head": 0.0})
    with pytest.raises(UsageError, match="every learning rate of lorahub is 0: interpolation has nothing to move"):
        train(fused, examples.encoded, examples.labels, np.random.default_rng(0), recipe=still)
    with pytest.raises(UsageError, match="a run of interpolation cannot be made again from looks: it leaves none"):
        replay(fused, fused.recipe, fused.state_dict(), [])
    for option in ("radius", "bound"):
        for value in (0.0, -1.0, float("inf"), float("nan")):
            with pytest.raises(UsageError, match=f"{option} of a recipe must be above 0"):
                Interpolation(**{option: value})


def test_a_loss_that_is_no_number_is_refused(backbone, make_pool, examples):
    fused = get_method("lorahub").attach(backbone, 3, np.random.default_rng(0), pool=make_pool())
    fused.use(lambda name, x, weight: F.linear(x, weight) * (float("nan") if name.endswith("pool_b") else 1.0))
    recipe = fused.recipe.with_options(head_margin=1.0)
    with pytest.raises(UsageError, match=r"the loss of lorahub is nan at step 0: lower recipe.radius or recipe.bound"):
        train(fused, examples.encoded, examples.labels, np.random.default_rng(0), recipe=recipe)


def test_what_was_found_for_mezo_is_taken_as_far_as_it_goes():
    """LoRAFusion's rates without a gradient are for both, its epsilon is mezo's."""
    method = with_settings(get_method("lorafusion"), {"recipe.optimiser": "interpolation"})
    assert method.recipe.learning_rates == {"coefficients": 0.05, "magnitudes": 0.0, "head": 0.0}
    plan = method.plan(load_shape("minilm"))
    assert plan.moving_numbers == 36 and plan.gradient == "NONE" and plan.backward_need == "THROUGH"
    assert plan.recipe.optimiser.passes(0) == 1 and plan.optimiser_macs == 36**3 + 4 * 36**2
    assert get_method("lora").plan(load_shape("minilm"), placement=Placement.DIGITAL).gradient == "THROUGH"
