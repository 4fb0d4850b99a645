"""LoCA against scipy's cosine transform, autograd of the merged form, finite differences, and counts by hand."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt.errors import UsageError
from edge_adapt.methods import Placement, get_method
from edge_adapt.methods.library.loca import cosines
from edge_adapt.methods.sparse import Movable, places
from edge_adapt.methods.spec import require_in_bundles
from edge_adapt.methods.training.hooks.locations import Locations
from edge_adapt.methods.training.trainer import train
from edge_adapt.studies.count import count
from edge_adapt.studies.count_config import CountConfig
from edge_adapt.workloads.named_shapes import load_shape
from scipy.fft import dctn, idctn

HEIGHT, WIDTH, TOKENS = 12, 9, 7


def attach(backbone, **options):
    """The method on a backbone with coefficients and head drawn at random."""
    adaptation = get_method("loca", **options).attach(backbone, 3, np.random.default_rng(0))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in adaptation.state.items():
            if not name.endswith(".locations"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return adaptation


def spectrum(values, locations, extents):
    """S, number by number."""
    dense = np.zeros(extents)
    for value, (row, column) in zip(values.tolist(), locations.T.tolist(), strict=True):
        at = round(min(row, 0.999) * (extents[0] - 1)), round(min(column, 0.999) * (extents[1] - 1))
        dense[at] += value
    return dense


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_unmerged_is_merged_by_scipy(backbone, examples, alpha):
    """W + alpha IDCT2(S) in every adapted linear of the model itself."""
    adaptation = attach(backbone, alpha=alpha, coefficients=40)
    ids, mask, _ = examples.tensors()
    merged = get_method("full").attach(backbone, 3, np.random.default_rng(0))
    with torch.no_grad():
        for name in backbone.target_names():
            own = [adaptation.state[f"{name}.{kind}"].detach() for kind in ("coefficients", "locations")]
            update = idctn(spectrum(*own, (16, 16)), norm="ortho")
            merged.state[name] += alpha * torch.from_numpy(update)
        expected = merged.module.features(ids, mask)
    torch.testing.assert_close(adaptation.module.features(ids, mask), expected, rtol=0, atol=1e-10)


def test_all_places_give_any_matrix():
    """The transform is orthonormal (Parseval), so that one coefficient for each place is a matrix of one's choice."""
    wanted = np.random.default_rng(0).standard_normal((HEIGHT, WIDTH))
    forth, back = cosines(WIDTH), cosines(HEIGHT).T
    found = back.T @ wanted @ forth.T
    np.testing.assert_allclose(found, dctn(wanted, norm="ortho"), atol=1e-12)
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(wanted), rel=1e-12)
    np.testing.assert_allclose(forth @ forth.T, np.eye(WIDTH), atol=1e-12)
    grid = np.indices((HEIGHT, WIDTH)).reshape(2, -1)
    shares = torch.from_numpy(grid / np.array([[HEIGHT - 1], [WIDTH - 1]]))
    rows, columns = places(shares, (HEIGHT, WIDTH))
    np.testing.assert_array_equal([rows, columns], grid)  # the last is 0.999 of the extent, and still the last
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((TOKENS, WIDTH)))
    mixed = Movable.apply(x @ torch.from_numpy(forth).T, torch.from_numpy(found.ravel()), shares, HEIGHT)
    torch.testing.assert_close(mixed @ torch.from_numpy(back).T, x @ torch.from_numpy(wanted).T)


def test_the_gradient_of_coefficients_is_that_of_the_merged_form(backbone, examples):
    """DCT2 of dL/dW at the places: autograd of one dense update, which knows nothing of the unmerged form."""
    adaptation = attach(backbone, coefficients=30)
    ids, mask, labels = examples.tensors()
    F.cross_entropy(adaptation.module(ids, mask), labels).backward()
    merged = get_method("full").attach(backbone, 3, np.random.default_rng(0))
    with torch.no_grad():
        for name in backbone.target_names():
            own = [adaptation.state[f"{name}.{kind}"].detach() for kind in ("coefficients", "locations")]
            merged.state[name] += torch.from_numpy(idctn(spectrum(*own, (16, 16)), norm="ortho"))
        for kind in ("weight", "bias"):
            merged.state[f"head.{kind}"].copy_(adaptation.state[f"head.{kind}"])
    F.cross_entropy(merged.module(ids, mask), labels).backward()
    for name in backbone.target_names():
        wanted = dctn(merged.state[name].grad.numpy(), norm="ortho")
        values, shares = (adaptation.state[f"{name}.{kind}"] for kind in ("coefficients", "locations"))
        rows, columns = places(shares, (16, 16))
        np.testing.assert_allclose(values.grad.numpy(), wanted[rows, columns], rtol=1e-6, atol=1e-10)
        moved = [rows + 1, rows - 1, columns + 1, columns - 1]
        down, up, right, left = (end.clamp(0, 15).numpy() for end in moved)
        slopes = np.stack([wanted[down, columns] - wanted[up, columns], wanted[rows, right] - wanted[rows, left]])
        expected = np.clip(values.detach().numpy() * slopes / 2, -1, 1)
        np.testing.assert_allclose(shares.grad.numpy(), expected, rtol=1e-6, atol=1e-10)


def test_the_gradient_of_places_is_a_finite_difference_of_the_loss():
    """A loss that is linear in S, with a smooth dL/dS, a quadratic in row and column: moving a coefficient by one place
    either way changes the loss by twice the gradient.
    """
    rows, columns = np.indices((HEIGHT, WIDTH))
    surface = torch.from_numpy(1e-2 * ((rows - 3.0) ** 2 + 0.5 * (columns - 6.0) ** 2))
    x, values = torch.eye(WIDTH, dtype=torch.float64), torch.tensor([0.7, -1.3, 2.0], dtype=torch.float64)
    at = np.array([[4, 7, 2], [3, 5, 1]])
    scale = np.array([[HEIGHT - 1], [WIDTH - 1]])

    def loss(where, leaf=False):
        shares = torch.from_numpy(where / scale).requires_grad_(leaf)
        return (Movable.apply(x, values, shares, HEIGHT).T * surface).sum(), shares

    total, shares = loss(at, leaf=True)
    total.backward()
    for axis in range(2):
        for index in range(3):
            sides = []
            for side in (1, -1):
                moved = at.copy()
                moved[axis, index] += side
                sides.append(float(loss(moved)[0]))
            assert float(shares.grad[axis, index]) == pytest.approx((sides[0] - sides[1]) / 2, rel=1e-9)


def test_gradients_of_places_are_cut_at_one():
    x, shares = torch.full((1, 3), 100.0), torch.tensor([[0.5], [0.5]], requires_grad=True)
    Movable.apply(x * torch.tensor([1.0, 1.0, 3.0]), torch.ones(1), shares, 3).backward(torch.tensor([[1.0, 0, 5.0]]))
    assert shares.grad.tolist() == [[1.0], [0.0]]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_forward_mode_goes_along_the_product():
    values, shares = torch.tensor([2.0, 3.0]), torch.rand(2, 2)
    x, tangent = torch.randn(4, 5), torch.randn(4, 5)
    _, moved = torch.func.jvp(lambda given: Movable.apply(given, values, shares, 6), (x,), (tangent,))
    torch.testing.assert_close(moved, Movable.apply(tangent, values, shares, 6))


def test_coefficients_and_places_take_turns():
    """The authors' turns of 10 and 20 in a phase of a thousand, and the turn of a short run."""
    hook = Locations()
    moves = [hook.moves(step, 10_000) for step in range(1_010)]
    assert moves[:31] == ["coefficients"] * 10 + ["locations"] * 20 + ["coefficients"]
    assert moves[:990].count("locations") == 660 and set(moves[1000:]) == {"coefficients"}
    assert [hook.moves(step, 56)[0] for step in range(8)] == list("ccllllcc")
    assert Locations(location_share=0.0).moves(0, 100) == "coefficients"
    for options, message in (({"location_share": 1.5}, "0 to 1; got 1.5"), ({"turn": 1}, "at least 2; got 1")):
        with pytest.raises(UsageError, match=message):
            Locations(**options)


def test_places_stay_after_their_phase(backbone, examples):
    adaptation = get_method("loca", coefficients=20).attach(backbone, 3, np.random.default_rng(0))
    name, seen = backbone.target_names()[0], []
    recipe = replace(adaptation.recipe, epochs=10, batch_size=12, hooks=(Locations(location_share=0.3),))

    def look(_step):
        seen.append([adaptation.state[f"{name}.{kind}"].detach().clone() for kind in ("coefficients", "locations")])

    train(adaptation, examples.encoded, examples.labels, np.random.default_rng(1), recipe=recipe, on_step=look)
    moved = [tuple(not torch.equal(*pair) for pair in zip(*both, strict=True)) for both in pairwise(seen)]
    assert moved[0] == (True, False)  # the second step of two that move coefficients
    assert moved[1:5] == [(False, True)] * 4 and moved[5:] == [(True, False)] * 14
    assert all(adaptation.state[n].requires_grad for n in adaptation.trained_names)


def test_counts_and_shared_arrays():
    """24 x 1000 coefficients, and twice as many places; two arrays for the one width of BERT's queries and values."""
    counted = get_method("loca").count(load_shape("bert-base-uncased"))
    assert counted.trained == {"coefficients": 24_000, "locations": 48_000}
    assert (counted.cells_frozen, counted.cells_trained) == (2 * 768 * 768, 0)
    plan = get_method("loca").plan(load_shape("bert-base-uncased"))
    assert [plan.read.count(f"loca.{kind}.768") for kind in ("forward", "back")] == [24, 24]
    # From behind: C^T of every linear, D of all but those that embeddings enter.
    assert [plan.transposed.count(f"loca.{kind}.768") for kind in ("forward", "back")] == [22, 24]
    uneven = get_method("loca", targets="ffn_up").plan(load_shape("bert-base-uncased"))
    assert {name: t.shape for name, t in uneven.tensors.items() if name.startswith("loca.")} == {
        "loca.forward.768": (768, 768), "loca.back.3072": (3072, 3072),
    }  # fmt: skip
    (record,) = count(CountConfig(model="bert-base-uncased", method=("loca",)))["results"]
    assert record["cells_written"] == 0
    assert record["inference_event_counts"]["reads"] == 64 * (72 + 2 * 24)


def test_the_work_of_places_is_charged_by_their_share_of_the_steps(backbone):
    """Two products for what a coefficient scales and for itself, two for its place in two thirds of a tenth."""
    numbers, first = 4 * 256, 2 * 256
    plan, recipe = get_method("loca").plan(backbone.shape), get_method("loca").recipe
    frozen = get_method("frozen").plan(backbone.shape).backward_work.per_token
    assert plan.backward_work.scaled_per_token == 2 * numbers - first + round(2 * numbers * 0.2 / 3)
    for changed, places_work in (
        (recipe.with_options(hooks=""), 2 * numbers),
        (replace(recipe, learning_rates={**recipe.learning_rates, "locations": 0.0}), 0),
    ):
        other = get_method("loca", recipe=changed).plan(backbone.shape)
        assert other.backward_work.per_token - frozen == 2 * numbers - first + places_work
    assert plan.own_work.per_token == numbers
    assert get_method("loca").placements == (Placement.DIGITAL,)


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match="loca adds up coefficients at places that move"):
        require_in_bundles(get_method("loca"))
    for options, message in (
        ({"coefficients": 0}, "coefficients of loca must be at least 1; got 0"),
        ({"alpha": -1.0}, "alpha of loca must be above 0; got -1.0"),
        ({"targets": "valeu"}, "did you mean 'value'"),
    ):
        with pytest.raises(UsageError, match=message):
            get_method("loca", **options)


def test_its_hook_is_refused_where_nothing_has_places():
    groups = {"head": ("head.weight",)}
    run = SimpleNamespace(adaptation=SimpleNamespace(method="lora", groups=groups))
    with pytest.raises(UsageError, match="moves places of coefficients, and lora has none"):
        Locations().before_training(run)
