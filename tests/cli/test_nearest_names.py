"""What a wrong name is answered with: names that come near, and none that are far-fetched."""

import pytest
from edge_adapt.cli import main
from edge_adapt.devices.overrides import resolve_key
from edge_adapt.devices.presets import list_presets, load_chip
from edge_adapt.errors import UsageError, nearest, unknown_name
from edge_adapt.methods import METHODS
from edge_adapt.workloads.image_tasks import IMAGE_TASKS
from edge_adapt.workloads.named_shapes import list_shapes
from edge_adapt.workloads.tasks import TASKS

NAMES = sorted(
    {*METHODS, *TASKS, *IMAGE_TASKS, *list_shapes(), *list_presets("chip"), "form", "cell.g_max", "lora:DIGITAL"}
)


@pytest.mark.parametrize("given", ["foo", "foo.bar", "xyz", "", "1", "qqqqqqqq", "o"])
def test_no_far_fetched_names(given):
    assert nearest(given, NAMES) == ";"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("rerem", "reram"), ("pmc", "pcm"), ("lorra", "lora"), ("proob", "probe"), ("moive", "movie"),
        ("mnist", "fashion-mnist"), ("llama", "llama-3-70b"), ("bert", "bert-tiny"), ("lora:DIGITALL", "lora:DIGITAL"),
        ("cell.gmax", "cell.g_max"), ("lorafusoin", "lorafusion"), ("fusion", "lorafusion"),
    ],
)  # fmt: skip
def test_names_that_may_have_been_meant(given, meant):
    assert repr(meant) in nearest(given, [name for name in NAMES if name != given])


def test_the_sentence():
    assert unknown_name("device", "foo", ["sonos", "pcm"]) == "unknown device 'foo'; allowed: pcm, sonos"
    assert unknown_name("device", "pmc", ["sonos", "pcm"]) == (
        "unknown device 'pmc'; did you mean 'pcm'? allowed: pcm, sonos"
    )


def test_far_fetched_keys_of_a_chip():
    with pytest.raises(UsageError, match=r"unknown key 'foo\.bar'; 'edge-adapt devices show NAME' lists the keys"):
        resolve_key("foo.bar")


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("chip.adc.bit", "'chip.adc.bits'?"), ("adc.bit", "'adc.bits'?"), ("chip.addc.bits", "'chip.adc.bits'"),
        ("bitz", "'bits'"), ("cell.g_mx", "'cell.g_max'"),
    ],
)  # fmt: skip
def test_keys_of_a_chip_are_named_as_they_were_written(key, meant):
    """What `--set` says: the key as given, and the near ones of the section that it names."""
    with pytest.raises(UsageError) as caught:
        load_chip("reram", {key: "6"})
    assert str(caught.value).startswith(f"setting {key}=6: unknown key {key!r}; did you mean {meant}")


def test_files_that_may_have_been_meant(tmp_path):
    for name in ("my-chip.yaml", "other.csv", ".hidden"):
        (tmp_path / name).write_text("")
    for given, meant in (("my-chp.yaml", "'my-chip.yaml'"), ("my-chip", "'my-chip.yaml'"), ("othr.csv", "'other.csv'")):
        with pytest.raises(UsageError, match=f"there is no chip file .*; did you mean {meant}\\?"):
            load_chip(tmp_path / given)
    with pytest.raises(UsageError, match=r"zzz$"):
        load_chip(tmp_path / "zzz")


@pytest.mark.parametrize("name", ["devices", "models", "tasks", "methods", "pool", "state", ""])
def test_a_wrong_command_is_called_a_command_everywhere(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*name.split(), "zzz"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("edge-adapt: error: unknown command 'zzz'; allowed: ")


def test_a_shipped_device_needs_no_check(capsys):
    assert main(["devices", "validate", "reram"]) == 2
    assert "reram is a shipped device, which is valid; give the path" in capsys.readouterr().err
