"""Methods that have no plan on a model for a task: refused where they were named, left out of `all` with a message."""

from types import SimpleNamespace

import pytest
from edge_adapt.errors import UsageError
from edge_adapt.studies.config import SimulateConfig
from edge_adapt.studies.variants import choose_variants
from edge_adapt.studies.workbench import planned
from edge_adapt.workloads.named_shapes import load_shape

TAGGING = SimpleNamespace(kind="text", shape=load_shape("bert-tiny"), special_tokens=2, tagged=True)
TASK = SimpleNamespace(labels=("O", "B", "I"))


@pytest.fixture
def variants():
    return choose_variants(("probe", "lst", "mp"), {})


def test_of_all_it_is_left_out_with_a_message(variants):
    fitting, messages = planned(variants, TAGGING, TASK, None, SimulateConfig(method=("all",)))
    assert [variant.method.name for variant in fitting] == ["probe", *["lst"] * 3]
    (message,) = messages
    assert message.startswith("left out: mp looks at the features 'own'") and "cannot tag words" in message


def test_by_name_it_is_refused(variants):
    with pytest.raises(UsageError, match=r"mp looks at the features 'own'.*cannot tag words"):
        planned(variants, TAGGING, TASK, None, SimulateConfig(method=("all", "mp:DIGITAL")))
