"""What nothing waits for, by hand on a small model."""

from collections import Counter
from types import SimpleNamespace

import pytest
from edge_adapt import load_chip
from edge_adapt.methods import Placement, get_method
from edge_adapt.simulator import CostTable
from edge_adapt.studies.count import count
from edge_adapt.studies.count_config import CountConfig
from edge_adapt.studies.overlaps import Overlaps
from edge_adapt.workloads.named_shapes import load_shape

FAST = {"periphery.digital.macs_per_second": "1e30 1/s"}  # digital work takes no time


def size(*batches):
    return SimpleNamespace(batches=Counter(map(tuple, batches)))


def of(name, settings=FAST, **options):
    shape = load_shape("bert-tiny")
    return Overlaps(load_chip("reram", settings), shape, get_method(name).plan(shape, **options))


def test_answers_by_hand():
    """Segments of 1, 4 and 3 matrices; 12 matrices are read for each of 10 tokens; 7 cycles a read."""
    hidden = of("frozen").of_answers(size([10, 10]))
    waited = (1 + 9) + (4 + 9) + (3 + 9)
    assert hidden.hidden_cycles == 2 * 7 * (12 * 10 - waited)
    assert hidden.hidden_transposed_cycles == 0


def test_a_batch_by_hand():
    """Sequences of 10 tokens: each further one leaves 10 reads later; back through 3 and 4 transposed matrices."""
    lora = of("lora", placement=Placement.DIGITAL)
    hidden = lora.of_training(size(), size([10] * 3))
    forward, backward = (1 + 9) + (4 + 9) + (3 + 9), (3 + 9) + (4 + 9)
    assert hidden.hidden_cycles == 7 * (3 * 12 * 10 - forward - 2 * 10)
    assert hidden.hidden_transposed_cycles == 7 * (3 * 9 * 10 - backward - 2 * 10)
    twice = lora.of_training(size([10] * 3), size([10] * 3))
    assert twice.hidden_cycles == 2 * hidden.hidden_cycles  # a batch is waited for


def test_slow_digital_work_hides_the_reads():
    """Where the unit is slow, it is never idle but for the first and the last reads."""
    slow = of("lora", {"periphery.digital.macs_per_second": "1 MHz"}, placement=Placement.DIGITAL)
    hidden = slow.of_answers(size([10]))
    assert hidden.hidden_macs == 0
    assert hidden.hidden_cycles > 7 * (12 * 10 - 12)


@pytest.mark.parametrize("method", ["frozen", "lora:DIGITAL", "lora:NVM_STEP", "vera", "lst", "prompt-tuning"])
def test_both_times_stand_in_a_report(method):
    plain, apart = (
        count(CountConfig(model="bert-tiny", method=(method,), settings=settings))["results"][0]
        for settings in ((), (("periphery.layers.schedule", "sequential"),))
    )
    for act in ("adaptation", "inference"):
        overlapped, sequential = f"{act}_time_seconds", f"{act}_time_sequential_seconds"
        assert plain[overlapped] < plain[sequential] == pytest.approx(apart[overlapped], rel=1e-12)
        assert apart[overlapped] == pytest.approx(apart[sequential], rel=1e-12)
    # What stands ready does so for a shorter time; everything else takes what it takes.
    one, other = (record["adaptation_energy_by_component_joules"] for record in (plain, apart))
    assert sum(one.values()) < sum(other.values())
    moved = {name for name in one if one[name] != pytest.approx(other[name], rel=1e-9)}
    assert moved and all(name.endswith("leakage") for name in moved)
    assert apart["inference_interval_seconds"] == pytest.approx(apart["inference_time_seconds"], rel=1e-12)
    assert plain["inference_interval_seconds"] <= plain["inference_time_seconds"]
    assert sum(plain["adaptation_time_by_component_seconds"].values()) == pytest.approx(
        plain["adaptation_time_seconds"]
    )


def test_what_hides_nothing_is_charged_in_full():
    """Writes, and reads that no pass makes, are counted as before."""
    from edge_adapt.simulator import EventCounts

    table = CostTable.of(load_chip("reram"))
    happened = EventCounts(array_cycles=5, transposed_cycles=2, pulse_turns=3, verify_turns=4, digital_macs=6)
    assert table.cost(happened).total_seconds == pytest.approx(table.sequential_seconds(happened))
