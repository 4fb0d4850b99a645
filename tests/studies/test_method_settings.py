"""Settings of recipes: for one method, or for all; what cannot be is refused before any work."""

import pytest
from edge_adapt.errors import UsageError
from edge_adapt.exporters.bundle import ExportConfig
from edge_adapt.methods import METHODS
from edge_adapt.studies.compare import check
from edge_adapt.studies.compare_config import CompareConfig
from edge_adapt.studies.config import SimulateConfig
from edge_adapt.studies.count_config import CountConfig
from edge_adapt.studies.variants import choose_variants
from edge_adapt.studies.workbench import load_workbench

SMOOTH = (("recipe.objective", "label-smoothing"), ("recipe.smoothing", "0.2"))
IN_BUNDLES = SimulateConfig(method=("bitfit",), trainer="onnxruntime", settings=SMOOTH)
REFUSED = "a bundle cannot hold the objective label-smoothing of bitfit: take recipe.objective=cross-entropy"


def test_an_option_of_every_recipe_is_set_at_once():
    variants = choose_variants(("all",), dict(SMOOTH) | {"lora.recipe.smoothing": "0.3"})
    found = {v.method.name: v.method.recipe.objective.smoothing for v in variants}
    assert found == dict.fromkeys(METHODS, 0.2) | {"lora": 0.3}


@pytest.mark.parametrize("kind", [SimulateConfig, CountConfig])
def test_recipes_are_no_chips(kind):
    config = kind(settings=(*SMOOTH, ("chip.adc.bits", "6"), ("lora.rank", "4")))
    assert config.method_settings() == dict(SMOOTH) | {"lora.rank": "4"}
    assert config.chip_settings() == {"chip.adc.bits": "6"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipe.objective": "label-smothing"}, "unknown objective .*; did you mean 'label-smoothing'"),
        ({"recipe.objective": ""}, "unknown objective ''; allowed: cross-entropy, label-smoothing"),
        ({"recipe.smoothing": "0.1"}, "smoothing belongs to the objective label-smoothing: set recipe.objective"),
        ({"recipe.objective": "label-smoothing", "recipe.smoothing": "1"}, "at least 0 and below 1; got 1.0"),
        ({"recipe.objective": "label-smoothing", "recipe.smoothing": "much"}, "smoothing takes a number; got 'much'"),
        ({"recipe.sampler": "epoch"}, "unknown sampler 'epoch'; did you mean 'epochs'"),
        ({"recipe.hooks": "mask"}, "unknown hook 'mask'; allowed: locations, "),
        ({"recipe.epoks": "4"}, "unknown recipe option 'epoks' of lora; did you mean 'epochs'"),
        (
            {"recipe.loss": "mse"},
            "allowed: batch_size, clip_norm, epochs, head_margin, head_shrinkage, hooks, min_steps",
        ),
        ({"recipe.learning_rates.head": "0.1"}, "rates are a method's own; set METHOD.recipe.learning_rates.head"),
        ({"lora.recipe.l1": "0.1"}, "recipe.l1 of lora: this method has no coefficients"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        choose_variants(("lora",), settings)


def test_fusion_has_coefficients_to_weigh():
    (variant,) = choose_variants(("lorafusion",), {"lorafusion.recipe.l1": "0.1"})
    assert variant.method.recipe.l1 == 0.1


def test_batches_that_an_optimiser_cannot_compare_are_refused_before_a_model_is_read(tmp_path, monkeypatch):
    """Of 20 shots 16 are trained on."""
    (tmp_path / "own.csv").write_text("text,label\n" + "".join(f"word{n} word,{'ab'[n % 2]}\n" for n in range(60)))
    monkeypatch.setattr("edge_adapt.studies.workbench.load_backbone", None)
    small = (("lorahub.recipe.batch_size", "15"),)
    study = SimulateConfig(method=("lorahub",), task=str(tmp_path / "own.csv"), shots=(20,), settings=small)
    for attempt in (
        lambda: load_workbench(study),
        lambda: check(CompareConfig(study=study, devices=("reram",), tasks=(study.task,))),
    ):
        with pytest.raises(UsageError, match="compares losses of all 16 examples: set recipe"):
            attempt()


def test_what_a_bundle_cannot_hold_is_refused_before_any_work(tmp_path, monkeypatch):
    """No chip, no task and no model is looked at first."""
    monkeypatch.setattr("edge_adapt.studies.workbench.load_chip", None)
    monkeypatch.setattr("edge_adapt.studies.compare.load_chip", None)
    with pytest.raises(UsageError, match=f"{REFUSED}; or take --trainer torch"):
        load_workbench(IN_BUNDLES)
    with pytest.raises(UsageError, match=REFUSED):
        check(CompareConfig(study=IN_BUNDLES, devices=("reram",), tasks=("movie",)))
    (variant,) = choose_variants(("bitfit",), dict(SMOOTH))
    with pytest.raises(UsageError, match=REFUSED):
        ExportConfig(variant.method)
