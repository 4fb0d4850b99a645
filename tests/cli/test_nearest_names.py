"""What a wrong name is answered with: names that come near, and none that are far-fetched."""

import pytest
from edge_adapt.devices.overrides import resolve_key
from edge_adapt.devices.presets import list_presets
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
