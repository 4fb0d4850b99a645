"""Options from a file and the command line, and which methods and placements they choose."""

import dataclasses

import pytest
from edge_adapt import load_chip
from edge_adapt.errors import UsageError
from edge_adapt.methods import METHODS, get_method
from edge_adapt.methods.placement import BackwardNeed
from edge_adapt.simulator.chip import FIDELITIES as CHIP_FIDELITIES
from edge_adapt.studies.config import (
    DEFAULT_METHODS,
    FIDELITIES,
    SimulateConfig,
    parse_age,
    parse_settings,
    read_config,
)
from edge_adapt.studies.life import groups, shorter
from edge_adapt.studies.method_settings import with_settings
from edge_adapt.studies.report import conducting_message
from edge_adapt.studies.variants import choose_variants
from edge_adapt.studies.workbench import require_chosen, unseen
from edge_adapt.workloads.pools import LoraModule, Pool
from edge_adapt.workloads.task import Task


def test_a_file_gives_the_same_options_as_the_command_line(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("device: pcm\nshots: [32, 100]\ntest-examples: 50\nset:\n  chip.adc.bits: 6\n  lora.rank: 8\n")
    config = SimulateConfig(**read_config(path))
    assert (config.device, config.shots, config.test_examples) == ("pcm", (32, 100), 50)
    assert config.chip_settings() == {"chip.adc.bits": "6"}
    assert config.method_settings() == {"lora.rank": "8"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("devise: pcm", "did you mean 'device'"),
        ("shots: many", "`shots` takes a whole number; got 'many'"),
        ("seeds: 1.5", "`seeds` takes a whole number; got 1.5"),
        ("readapt-share: half", "takes a number; got 'half'"),
        ("task: 3", "takes a text; got 3"),
        ("method: [3]", "`method` takes a text; got 3"),
        ("- device", "option: value"),
        ("device: [", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as error:
        read_config(path)
    assert "study.yaml" in str(error.value)


def test_who_adapts_again():
    """Of the default methods one; of those that are named all, unless some are asked for."""
    again = lambda **options: [name for name in ("frozen", "lora", "lorafusion")
                               if SimulateConfig(**options).adapts_again(name)]  # fmt: skip
    assert again() == ["lorafusion"]
    assert again(method=("lora", "lorafusion")) == ["frozen", "lora", "lorafusion"]
    assert again(readapt=("all",)) == ["frozen", "lora", "lorafusion"]
    assert again(readapt=("lora",)) == again(method=("all",), readapt=("lora",)) == ["lora"]
    assert again(method=("all",), readapt=("none",)) == []


@pytest.mark.parametrize(
    ("readapt", "words"),
    [
        (("lorafusio",), "did you mean 'lorafusion'"),
        (("vera",), "unknown method of this run to adapt again 'vera'; allowed: "),
        (("none", "lora"), "all, or none alone"),
    ],
)
def test_who_adapts_again_must_run(readapt, words):
    variants = choose_variants(("lora", "lorafusion"), {})
    with pytest.raises(UsageError, match=words):
        require_chosen(readapt, variants)


@pytest.mark.parametrize(
    "wrong", [{"seeds": 0}, {"shots": (1,)}, {"shots": ()}, {"readapt_share": 1.5}, {"max_tokens": 2}]
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError):
        SimulateConfig(**wrong)


@pytest.mark.parametrize(
    ("fidelity", "words"),
    [
        ("magic", "unknown fidelity 'magic'; allowed: bitserial, count, fast, ideal"),
        ("bit-serial", "did you mean 'bitserial'"),
        ("count", "fidelity count simulates nothing"),
    ],
)
def test_a_wrong_fidelity_is_refused_before_anything_is_programmed(fidelity, words):
    with pytest.raises(UsageError, match=words):
        SimulateConfig(fidelity=fidelity)


def test_every_fidelity_of_the_chip_can_be_asked_for():
    assert {*CHIP_FIDELITIES, "count"} == set(FIDELITIES)
    assert [SimulateConfig(fidelity=name).fidelity for name in CHIP_FIDELITIES] == list(CHIP_FIDELITIES)


def test_the_digest_tells_configurations_apart():
    assert SimulateConfig().digest() == SimulateConfig().digest()
    assert SimulateConfig().digest() != SimulateConfig(seeds=3).digest()


def test_settings_need_an_equals_sign():
    assert parse_settings(["adc.bits=6", "a=b=c"]) == (("adc.bits", "6"), ("a", "b=c"))
    with pytest.raises(UsageError, match="KEY=VALUE"):
        parse_settings(["adc.bits"])


def test_all_is_every_method_under_every_placement():
    titles = {variant.title for variant in choose_variants(("all",), {})}
    assert titles == {f"{m.name}/{p}" for m in METHODS.values() for p in m.placements}
    titles = [variant.title for variant in choose_variants((), {})]
    assert titles == [
        "frozen/DIGITAL", "probe/DIGITAL", "pool/DIGITAL", "lora/DIGITAL", "lora/NVM_TASK", "lorafusion/DIGITAL",
    ]  # fmt: skip
    assert len(titles) == len(DEFAULT_METHODS)


def test_one_placement_can_be_asked_for_and_nothing_comes_twice():
    variants = choose_variants(("lora:digital", "lora:DIGITAL", "probe"), {})
    assert [variant.title for variant in variants] == ["lora/DIGITAL", "probe/DIGITAL"]
    offered = "unknown placement for lora 'SRAM'; allowed: DIGITAL, NVM_STEP, NVM_TASK$"
    with pytest.raises(UsageError, match=offered):
        choose_variants(("lora:sram",), {})


def test_options_and_recipes_of_a_method_can_be_set():
    method = with_settings(
        get_method("lora"), {"rank": "4", "recipe.epochs": "2", "recipe.learning_rates.head": "0.01"}
    )
    assert (method.rank, method.recipe.epochs, method.recipe.learning_rates["head"]) == (4, 2, 0.01)
    with pytest.raises(UsageError, match="rank"):
        with_settings(get_method("lora"), {"rnak": "4"})
    with pytest.raises(UsageError, match=r"rank: the number 08 starts with 0 \(octal or decimal\?\); write it without"):
        with_settings(get_method("lora"), {"rank": "08"})
    with pytest.raises(UsageError, match="on or off"):
        with_settings(get_method("lorafusion"), {"cross_terms": "perhaps"})


def test_groups_hold_what_shares_a_training_or_its_features():
    variants = choose_variants(("frozen", "full", "lora", "lorafusion", "probe", "pool"), {})
    found = groups(variants)
    assert sorted(v.title for group in found for v in group) == sorted(v.title for v in variants)
    titles = [[v.title for v in group] for group in found]
    assert ["lora/DIGITAL", "lora/NVM_TASK"] in titles and ["lora/NVM_STEP"] in titles
    heads = next(group for group in titles if "probe/DIGITAL" in group)
    assert set(heads) == {v.title for v in variants if v.method.backward_need is BackwardNeed.NONE}


def test_the_start_of_a_method_has_its_options_but_not_its_recipe():
    settings = {"lorafusion.initial": "0.5", "lorafusion.recipe.epochs": "3"}
    pool, fused = (v.method for v in choose_variants(("pool", "lorafusion"), settings))
    assert (pool.initial, pool.recipe.epochs) == (0.5, 0)
    assert (fused.initial, fused.recipe.epochs) == (0.5, 3)
    (own,) = choose_variants(("pool",), settings | {"pool.initial": "2"})
    assert own.method.initial == 2.0


def test_every_trained_method_names_a_start_that_trains_nothing():
    for method in METHODS.values():
        trains = bool(method.recipe.learning_rates)
        assert trains == bool(method.start), method.name
        assert not trains or not METHODS[method.start].start
        assert not trains or METHODS[method.start].needs_pool == method.needs_pool


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1h", 3600), ("30d", 2592000), ("90 s", 90), ("10min", 600), ("1.5h", 5400), ("2e3s", 2000), ("10y", 315576000)],
)
def test_ages_have_units(text, seconds):
    assert parse_age(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "h", "0s", "-1d", "1w", "nans", "infd", "0.5s", "1e30d", "d30"])
def test_other_ages_are_refused(text):
    with pytest.raises(UsageError, match="ages are whole seconds, with a unit"):
        parse_age(text)


def test_ages_come_in_order_and_once(tmp_path):
    assert SimulateConfig(ages=("30d", "1h", "24h", "1d")).age_seconds == (3600, 86400, 2592000)
    with pytest.raises(UsageError, match="ages must name at least one"):
        SimulateConfig(ages=())
    file = tmp_path / "options.yaml"
    file.write_text("ages: [1h, 30d]\nchips: one\ncheck-pool: 4\n")
    assert read_config(file) == {"ages": ("1h", "30d"), "chips": "one", "check_pool": 4}


def test_numbers_of_shots_come_once_in_the_order_they_are_given():
    """Before, two equal numbers were both trained, and the report then refused the second record."""
    assert SimulateConfig(shots=(16, 8, 16)).shots == (16, 8)
    assert SimulateConfig(shots=(8, 8)) == SimulateConfig(shots=(8,))


def test_every_run_has_a_chip_of_its_own_unless_told_otherwise():
    config = SimulateConfig(seeds=3, first_seed=4, chip_seed=10)
    assert config.chip_numbers == {14: [4], 15: [5], 16: [6]}
    assert dataclasses.replace(config, chips="one").chip_numbers == {10: [4, 5, 6]}
    with pytest.raises(UsageError, match="unknown kind of chips 'own'; did you mean 'one'"):
        SimulateConfig(chips="own")


@pytest.mark.parametrize("folds", [-1, 1, 51])
def test_folds_that_cannot_be_are_refused(folds):
    with pytest.raises(UsageError, match="a number of folds from 2 to 50"):
        SimulateConfig(shots=(100,), check_pool=folds)


def test_the_second_adaptation_is_shorter():
    recipe = get_method("lora").recipe
    assert shorter(recipe, 0.5).epochs == round(recipe.epochs / 2)


def test_modules_of_the_task_itself_are_left_out_of_the_pool() -> None:
    module = lambda name: LoraModule(name, 2, 1.0, {}, {}, task=name)
    pool = Pool((module("a"), module("b")), (), "somewhere", {})
    task = Task("b", ("x", "y"), (), (), "", "", 0, ("before",))
    kept, told = unseen(pool, task)
    assert [m.name for m in kept.modules] == ["a"]
    assert told.messages == ("before", "left out of the pool, being trained on this task: b")
    other = dataclasses.replace(task, name="c")
    assert unseen(pool, other) == (pool, other)
    with pytest.raises(UsageError, match="trained on nothing but the task 'b'"):
        unseen(dataclasses.replace(pool, modules=pool.modules[1:]), task)


def test_modules_that_do_not_say_what_they_were_trained_on_are_named() -> None:
    module = lambda name, task: LoraModule(name, 2, 1.0, {}, {}, task=task)
    pool = Pool((module("a", "b"), module("c", None), module("d", None)), (), "somewhere", {}, ("before",))
    task = Task("b", ("x", "y"), (), (), "", "", 0)
    kept, told = unseen(pool, task)
    assert [m.name for m in kept.modules] == ["c", "d"]
    assert told.messages == ("left out of the pool, being trained on this task: a",)
    assert kept.messages == ("before", "unknown whether these modules of the pool were trained on this task: c, d")
    unknown = dataclasses.replace(pool, modules=pool.modules[1:])
    assert unseen(unknown, task) == (dataclasses.replace(unknown, messages=kept.messages), task)


def test_images_have_recipes_of_their_own_which_settings_change() -> None:
    chosen = {
        v.method.name: v.method for v in choose_variants(("probe", "vpt"), {"vpt.recipe.epochs": "3"}, images=True)
    }
    assert chosen["vpt"].recipe.epochs == 3
    for name, method in chosen.items():
        assert method.recipe.head_shrinkage < 1 == get_method(name).recipe.head_shrinkage
    assert chosen["probe"].recipe.learning_rates != get_method("probe").recipe.learning_rates
    frozen, full = (v.method for v in choose_variants(("frozen", "full:NVM_TASK"), {}, images=True))
    assert frozen.recipe.learning_rates == {}
    assert full.recipe.learning_rates.keys() == get_method("full").recipe.learning_rates.keys()


def test_a_report_says_how_long_cells_conduct():
    assert "1e-08 s, in each array cycle of 1e-07 s" in conducting_message(load_chip("reram"))
    assert "10 times the energy" in conducting_message(load_chip("reram"))
    # The circuits read a phase-change cell throughout the cycle.
    assert conducting_message(load_chip("pcm")).endswith("1e-07 s: as long as an array cycle")
    pulses = conducting_message(load_chip("neurram"))
    assert "up to 15 pulses in an array cycle of 6.75e-06 s" in pulses and "2e-09 s, in each pulse" in pulses
