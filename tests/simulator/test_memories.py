"""Where bytes lie and what they cost: by hand, in sum, against the sources of the law, and never falling."""

import dataclasses
import math

import pytest
from edge_adapt import load_chip
from edge_adapt.simulator import CostTable, EventCounts
from edge_adapt.simulator.memories import Memories, Traffic, WorkingSets, traffic
from hypothesis import given, settings
from hypothesis import strategies as st

KB = 1024.0


@pytest.fixture(scope="module")
def reram():
    return load_chip("reram")


def of(chip, **changes):
    return dataclasses.replace(chip, periphery=dataclasses.replace(chip.periphery, **changes))


def test_the_law_is_that_of_the_sources(reram):
    """Horowitz: 10, 20 and 100 pJ for 64 bits in 8 KB, 32 KB and 1 MB."""
    price = lambda size: Memories.of(reram).factor(size) * 1.25e-12 * 8
    assert price(8 * KB) == pytest.approx(10e-12) == pytest.approx(price(1.0)), "no memory is smaller"
    assert price(32 * KB) == pytest.approx(20e-12, rel=0.04)
    assert price(1024 * KB) == pytest.approx(100e-12, rel=0.01)


def test_by_hand(reram):
    """SRAM of 100 bytes, of which each costs as much as the root of its memory's size over 4 bytes."""
    chip = of(reram, sram_size_bytes=4.0, sram_growth=0.5, sram_capacity_bytes=100.0, sram_energy_joules_per_byte=1.0,
              dram_energy_joules_per_byte=50.0)  # fmt: skip
    sets = WorkingSets(flow=64, kept=144, weights=16, moments=10)
    counts = EventCounts(sram_bytes=1000 + 288 + 320 + 10, flow_bytes=1000, kept_bytes=288, moment_bytes=10)
    table = CostTable.of(chip)
    placed = table.placed(counts, sets)
    # Weights are moved 20 times each, what flows 15.6, activations twice: 16 + 64 + 20 of 144 bytes fit.
    assert placed.dram_bytes == pytest.approx(288 * 124 / 144 + 10)
    assert placed.sram_bytes == pytest.approx(320 + 1000 + 288 * 20 / 144)
    joules = table.cost(placed).joules
    assert joules["sram"] == pytest.approx(320 * 2 + 1000 * 4 + 40 * math.sqrt(5))
    assert joules["dram"] == pytest.approx(50 * (248 + 10))
    assert table.placed(placed, sets) == placed, "also of what was placed before"


def test_one_level_is_bytes_times_their_price(reram):
    one = load_chip("reram", {"sram.growth": "0", "sram.capacity": "unlimited", "leakage.when": "never"})
    counts = EventCounts(sram_bytes=1e9, flow_bytes=2e8, kept_bytes=7e8)
    sets = WorkingSets(flow=2e5, kept=5e7, weights=1e6)
    cost = CostTable.of(one).cost(CostTable.of(one).powered(counts, 100, sets))
    assert cost.total_joules == pytest.approx(1e9 * reram.periphery.sram_energy_joules_per_byte)
    assert cost.joules["sram"] == cost.total_joules


def test_a_file_that_states_no_memories_has_one():
    chip = load_chip("neurram")
    placed = CostTable.of(chip).placed(EventCounts(sram_bytes=1e9), WorkingSets(weights=1e8))
    assert (placed.sram_bytes, placed.sram_surcharge_bytes, placed.dram_bytes) == (1e9, 0.0, 0.0)


def test_words():
    memories = Memories(1e6, 1e-12, 1e4, 0.5, 64e-12)
    whole, part, none = memories.place([Traffic("a", 4e4, 1e9), Traffic("b", 2.4e6, 1e9), Traffic("c", 1e6, 1.0)])
    assert whole.words(memories) == "a 40 kB: SRAM (2 pJ/byte)"
    assert part.words(memories) == "b 2.4 MB: 40 % SRAM (9.8 pJ/byte), the rest DRAM"
    assert none.words(memories) == "c 1 MB: DRAM"


sizes = st.floats(1, 1e8)


@settings(max_examples=80, deadline=None)
@given(st.tuples(sizes, sizes, sizes, sizes, sizes), st.tuples(*[st.floats(1, 1e12)] * 5), st.floats(1e3, 8e6))
def test_nothing_is_lost_and_prices_stay_between_those_of_the_memories(size, moved, capacity):
    sets = WorkingSets(*size)
    counts = EventCounts(sram_bytes=math.fsum(moved), flow_bytes=moved[0], kept_bytes=moved[1],
                         feature_bytes=moved[2], moment_bytes=moved[4])  # fmt: skip
    chip = of(load_chip("reram"), sram_capacity_bytes=capacity)
    table = CostTable.of(chip)
    placed = table.placed(counts, sets)
    assert placed.sram_bytes + placed.dram_bytes == pytest.approx(math.fsum(moved))
    found = table.memories.place(traffic(counts, sets))
    on_chip = math.fsum(one.share * one.traffic.size for one in found)
    assert on_chip <= capacity * (1 + 1e-9)
    joules = table.cost(placed).total_joules
    assert joules == pytest.approx(
        math.fsum(1.25e-12 * one.factor * one.sram_bytes + 64e-12 * one.dram_bytes for one in found)
    )
    total = math.fsum(moved)
    assert 1.25e-12 * total * (1 - 1e-9) <= joules <= 64e-12 * total * (1 + 1e-9)
    tables = [CostTable.of(of(chip, sram_growth=g)) for g in (0.0, 0.2, 0.475)]
    prices = [t.memories.factor(max(size)) for t in tables]
    assert prices == sorted(prices)
