"""Objectives, samplers, optimisers and hooks: found by their names, set by their keys, usable with every method."""

import dataclasses
import subprocess
import sys
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt.errors import UsageError
from edge_adapt.methods import METHODS, Recipe, get_method
from edge_adapt.methods.recipes import KEYS, belongs_to
from edge_adapt.methods.spec import changes_for_bundles, fits_bundles, require_in_bundles
from edge_adapt.methods.training import strategies
from edge_adapt.methods.training.hooks import Hook
from edge_adapt.methods.training.optimisers.mezo import Mezo
from edge_adapt.methods.training.samplers import Sampler
from edge_adapt.methods.training.strategies import KINDS, known, named, register
from edge_adapt.methods.training.trainer import train
from edge_adapt.workloads.batches import batches
from edge_adapt.workloads.named_shapes import load_shape

TEXT = [name for name, method in METHODS.items() if "text" in method.kinds]
SHARE = 0.3


@dataclass(frozen=True)
class Calls(Hook):
    """Writes down when it is called."""

    name: ClassVar[str] = "calls"

    def before_training(self, run):
        run.memory[self.name] = ["begin"]

    def before_step(self, run):
        run.memory[self.name].append(("before", run.epoch, run.log.steps))

    def after_step(self, run):
        run.memory[self.name].append(("after", run.epoch, run.log.steps))

    def after_epoch(self, run):
        run.memory[self.name].append(("end", run.epoch))
        seen.append(run.memory[self.name])
        run.changed()


seen = []  # of `Calls`: what it had written when an epoch ended


@dataclass(frozen=True)
class Balanced(Sampler):
    """As many rows of each class as the largest one has, the others' again and again."""

    name: ClassVar[str] = "balanced"

    largest: int = 20
    classes: int = 2

    def rows(self, examples):
        return self.largest * self.classes

    def order(self, run, source):
        labels = np.asarray(source.labels)
        return run.rng.permutation(np.concatenate([
            np.resize(np.flatnonzero(labels == label), self.largest) for label in range(self.classes)
        ]))  # fmt: skip


def test_no_two_options_share_a_key():
    """An option is set by its name alone: it is the recipe's, or that of one kind of strategy."""
    own = {field.name for field in dataclasses.fields(Recipe)}
    keys = {kind: {name for s in known(kind).values() for name in s().options} for kind in KINDS}
    for kind, names in keys.items():
        others = own.union(*(more for other, more in keys.items() if other != kind))
        assert not names & others, kind


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "hook"])
def test_every_kind_has_the_usual_one_and_it_goes_into_bundles(kind):
    usual = getattr(Recipe, KEYS[kind])
    assert known(kind)[usual.name] is type(usual) and usual.in_bundles
    assert [s for s in known(kind).values() if s.in_bundles] == [type(usual)]
    with pytest.raises(UsageError, match=f"unknown {kind} 'x{usual.name}'; did you mean '{usual.name}'"):
        named(kind, f"x{usual.name}")


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="objective 'cross-entropy' is already registered"):
        register(type("Other", (type(named("objective", "label-smoothing")),), {"name": "cross-entropy"}))


def test_choices_need_no_torch():
    code = (
        "import sys; from edge_adapt.methods.training.strategies import KINDS, known; from edge_adapt.methods import "
        "METHODS; print([sorted(known(kind)) for kind in KINDS], len(METHODS)); assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["epochs", "min_steps", "weight_decay", "l1", "head_margin", "clip_norm"])
def test_numbers_that_no_training_can_have_are_refused(name):
    for value in (float("nan"), -1.0):
        with pytest.raises(UsageError, match=f"{name} of a recipe must"):
            Recipe({}).with_options(**{name: value})


def test_options_go_where_they_belong():
    recipe = Recipe({"head": 0.1}).with_options(objective="label-smoothing", smoothing=0.2, epochs=3, optimiser="mezo")
    assert (recipe.objective.smoothing, recipe.epochs, recipe.optimiser) == (0.2, 3, Mezo())
    assert recipe.with_options(optimiser=Mezo(queries=4)).optimiser.queries == 4
    assert recipe.options["smoothing"] == 0.2 and recipe.options["queries"] == 1
    assert recipe.recorded()["objective"] == "label-smoothing" and recipe.recorded()["optimiser"] == "mezo"
    assert {"objective", "optimiser", "sampler", "hooks"}.isdisjoint(Recipe({}).recorded())
    assert [strategy.words for strategy in recipe.unusual] == ["label-smoothing (smoothing 0.2)", "mezo"]
    assert Recipe({}).unusual == ()
    assert belongs_to("smoothing") == "; smoothing belongs to the objective label-smoothing: set recipe.objective"
    with pytest.raises(ValueError, match="a recipe of cross-entropy, epochs, adamw has no 'smoothing'"):
        Recipe({}).with_options(smoothing=0.1)


@pytest.mark.parametrize("optimiser", ["adamw", "sgd", "mezo"])
@pytest.mark.parametrize("name", TEXT)
def test_every_method_trains_on_another_objective(backbone, make_pool, examples, name, optimiser):
    """The loss of the first step, on all examples, is torch's own at the start of the training."""
    quiet = {"noise": 0.0} if "noise" in METHODS[name].__dataclass_fields__ else {}  # of training alone
    adaptation = get_method(name, **quiet).attach(backbone, 3, np.random.default_rng(0), pool=make_pool())
    changes = {"objective": "label-smoothing", "smoothing": SHARE, "optimiser": optimiser, "batch_size": 24}
    recipe = adaptation.recipe.with_options(**changes)
    run = lambda epochs: train(
        adaptation, examples.encoded, examples.labels, np.random.default_rng(1),
        recipe=dataclasses.replace(recipe, epochs=epochs, min_steps=0),
    )  # fmt: skip
    run(0)
    ids, mask, labels = examples.tensors()
    with torch.no_grad():
        expected = F.cross_entropy(adaptation.module(ids, mask), labels, label_smoothing=SHARE)
        expected = (expected + adaptation.regulariser()).item()
    losses = run(1).losses
    assert len(losses) == bool(adaptation.trained_names)
    for loss in losses:  # MeZO's is the mean of two on either side
        assert loss == pytest.approx(expected, rel=1e-9 if optimiser != "mezo" else 1e-2)


@pytest.mark.parametrize("name", ["probe", "lora"])
def test_hooks_are_called_around_steps_and_epochs(backbone, examples, name):
    adaptation, changes = get_method(name).attach(backbone, 3, np.random.default_rng(0)), []
    recipe = dataclasses.replace(adaptation.recipe, epochs=2, min_steps=0, batch_size=12, hooks=(Calls(),))
    seen.clear()
    log = train(
        adaptation, examples.encoded, examples.labels, np.random.default_rng(0), recipe=recipe,
        on_change=lambda: changes.append(1),
    )  # fmt: skip
    steps = [[("before", n // 2, n), ("after", n // 2, n + 1)] for n in range(4)]
    assert seen[-1] == ["begin", *steps[0], *steps[1], ("end", 0), *steps[2], *steps[3], ("end", 1)]
    assert log.changes == len(changes) == 4 + 2  # the hook says so after each epoch


@pytest.mark.parametrize("name", ["probe", "lora"])
def test_a_sampler_decides_what_an_epoch_is(backbone, examples, name):
    """20 examples of one class and 4 of another: an epoch has 40, in 5 steps, and the plan says the same."""
    labels = [int(n < 4) for n in range(24)]
    adaptation = get_method(name).attach(backbone, 2, np.random.default_rng(0))
    recipe = dataclasses.replace(adaptation.recipe, epochs=3, min_steps=0, batch_size=8, sampler=Balanced())
    log = train(adaptation, examples.encoded, labels, np.random.default_rng(0), recipe=recipe)
    assert log.steps == recipe.schedule(24).steps == 3 * 5
    assert (log.head_sequences, log.trained.sequences) == ((120, 0) if name == "probe" else (0, 120))


def test_an_order_that_is_given_is_the_order_that_is_drawn(examples):
    """So that a sampler's draw is the one that batches used to make themselves."""
    drawn = batches(examples.encoded, examples.labels, 7, np.random.default_rng(3))
    given = batches(examples.encoded, examples.labels, 7, order=np.random.default_rng(3).permutation(24))
    for one, other in zip(drawn, given, strict=True):
        assert np.array_equal(one.input_ids, other.input_ids) and np.array_equal(one.labels, other.labels)


def test_hooks_are_set_by_their_names(monkeypatch):
    known("hook")
    monkeypatch.setitem(strategies._KNOWN["hook"], "calls", Calls)
    recipe = Recipe({}).with_options(hooks="calls, calls")
    assert recipe.hooks == (Calls(), Calls()) and recipe.recorded()["hooks"] == ["calls", "calls"]
    assert recipe.with_options(hooks="").hooks == ()
    with pytest.raises(UsageError, match="unknown hook 'cals'; did you mean 'calls'"):
        Recipe({}).with_options(hooks="cals")


@dataclass(frozen=True)
class Square:
    """A regulariser that no device has."""

    group: str = "head"
    name: ClassVar[str] = "square"
    in_bundles: ClassVar[bool] = False

    def weight(self, recipe):
        return 0.5

    def penalty(self, tensors):
        return sum(tensor.square().sum() for tensor in tensors.values())


class Squared(type(METHODS["probe"])):
    regularisers = (Square(),)


def test_a_method_brings_its_regularisers(backbone, make_pool):
    of = lambda method: method.attach(backbone, 3, np.random.default_rng(0), pool=make_pool())
    adaptation = of(Squared(recipe=METHODS["probe"].recipe))
    adaptation.module.head.weight.data.fill_(2.0)
    adaptation.module.head.bias.data.fill_(1.0)
    assert adaptation.regulariser().item() == 0.5 * (4 * 3 * 16 + 3)
    assert of(get_method("lora")).regulariser().item() == 0.0
    names = {name: of(get_method(name)).plan.l1_names for name in ("lorafusion", "pasta+lorafusion", "pool", "lora")}
    assert names == dict.fromkeys(("lorafusion", "pasta+lorafusion"), ("coefficients",)) | {"pool": (), "lora": ()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"objective": "label-smoothing"},
            "the objective label-smoothing of lora: take recipe.objective=cros",
        ),
        ({"sampler": Balanced()}, "hold the sampler balanced of lora: take recipe.sampler=epochs"),
        ({"optimiser": "mezo"}, "optimiser mezo of lora: take .*=adamw, and choose it on the device: .*izer mezo"),
        ({"hooks": (Calls(),)}, "hold the hook calls of lora: take recipe.hooks=none"),
    ],
    ids=str,
)
def test_what_a_bundle_cannot_hold_is_refused_by_name(changes, message):
    method = get_method("lora")
    require_in_bundles(method)
    with pytest.raises(UsageError, match=message):
        require_in_bundles(dataclasses.replace(method, recipe=method.recipe.with_options(**changes)))
    assert not fits_bundles(get_method("adalora")), "its regulariser stays, whichever hooks are chosen"
    with pytest.raises(UsageError, match="hold the regulariser square of probe: simulate it instead"):
        require_in_bundles(Squared(recipe=METHODS["probe"].recipe))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lora", {"hooks": "rank-budget"}, "rank-budget closes gates.* and lora has none"),
        ("bitfit", {"hooks": "rank-allocation"}, "low-rank pairs, and bitfit trains none"),
        ("lora", {"hooks": "rank-allocation", "optimiser": "mezo"}, "needs gradients, and mezo has none"),
        ("full", {"hooks": "random-deactivation"}, "low-rank updates, and full has none"),
        ("lora", {"hooks": "locations"}, "in turns, and lora has no places"),
        ("lorafusion", {"hooks": "locations"}, "and lorafusion has no places"),
        ("lora", {"optimiser": "proximal"}, "'gates' of lora;.*allowed: head, matrices"),
    ],
)  # fmt: skip
def test_a_recipe_that_is_not_for_the_method_is_refused_with_its_plan(name, options, message):
    """Before any weights are read, and not for a method that takes no step by it."""
    shape, method = load_shape("bert-tiny"), get_method(name)
    recipe = method.recipe.with_options(**options)
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(method, recipe=recipe).plan(shape)
    dataclasses.replace(method, recipe=recipe.with_options(epochs=0)).plan(shape)
    frozen = get_method("frozen")
    dataclasses.replace(frozen, recipe=frozen.recipe.with_options(**options)).plan(shape)


def test_what_is_taken_instead_makes_a_bundle():
    sora = get_method("sora")
    assert changes_for_bundles(sora) == {"optimiser": "adamw"} and fits_bundles(sora)
    require_in_bundles(dataclasses.replace(sora, recipe=sora.recipe.with_options(**changes_for_bundles(sora))))


def test_no_hooks_takes_away_those_of_the_recipe():
    recipe = get_method("adalora").recipe
    assert recipe.hooks and recipe.with_options(hooks="none").hooks == ()
