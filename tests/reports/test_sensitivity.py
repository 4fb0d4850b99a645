"""Which constants turn a ranking of energies: against energies summed by hand, again, with the constant changed."""

import copy
import math
from types import SimpleNamespace

import pytest
from edge_adapt.errors import UsageError
from edge_adapt.reports.figure_sensitivity import tornado
from edge_adapt.reports.records import typed
from edge_adapt.reports.sensitivity import PER_CELL, of_subject, ranking, sensitivity
from edge_adapt.reports.sensitivity_words import answers_text, verdict


def number(key, value, unit="J", power=1, between=None):
    found = None if between is None else SimpleNamespace(low=between[0], high=between[1], source="s", note="n")
    return SimpleNamespace(key=key, meaning=f"the {key}", unit=unit, value=value, power=power, range=found)


def cost(counts, value, *numbers, tally="", part="use", published=None):
    return SimpleNamespace(
        quantity="energy", component="c", event=counts or tally, counts=[counts] if counts else [], tally=tally,
        value=value, unit="J", formula="f", part=part, numbers=list(numbers), published=published,
    )  # fmt: skip


class FakeRow:
    """A row with one record, its totals given."""

    def __init__(self, title, counts, costs, **stats):
        self.title, self.method, self.placement = title, title, "DIGITAL"
        self.records = [SimpleNamespace(adaptation_event_counts=counts)]
        total = sum(counts.get(c.tally, 0.0) if c.tally else counts[c.counts[0]] * (c.value or 0) for c in costs)
        self.stats = {"adaptation_energy_joules": total, **stats}

    def stat(self, name):
        return SimpleNamespace(mean=self.stats.get(name))


def pair(costs, first, second, answers=(None, None), writes=(None, None), cells=(0, 0)):
    report = SimpleNamespace(device=SimpleNamespace(costs=costs))
    rows = [
        FakeRow(title, counts, costs, inference_energy_joules=answer, write_energy_joules=write, cells_written=n)
        for title, counts, answer, write, n in zip("ab", (first, second), answers, writes, cells, strict=True)
    ]
    return ranking(report, *rows)


MACS, READS = number("mac", 3.0, between=(0.5, 4.0)), number("adc", 1.0, between=(0.9, 1.1))


def test_a_linear_constant_turns_where_the_two_lines_meet():
    # a: 10 reads and 20 products; b: 5 reads and 25 products. 10 + 20 m = 5 + 25 m at m = 1; at m = 3 a takes less.
    costs = [cost("reads", 1.0, READS), cost("macs", 3.0, MACS)]
    found = pair(costs, {"reads": 10, "macs": 20}, {"reads": 5, "macs": 25})
    assert (found.first, found.second) == ("a", "b") and found.joules == (70, 80)
    turns = {turn.key: turn for turn in found.turns}
    assert turns["mac"].at == pytest.approx(1.0) and turns["mac"].inside and turns["mac"].side == "below"
    # 10 r + 60 = 5 r + 75 at r = 3, outside its range.
    assert turns["adc"].at == pytest.approx(3.0) and turns["adc"].inside is False and turns["adc"].side == "above"
    assert turns["mac"].ends == pytest.approx(((10 + 20 * 0.5) / (5 + 25 * 0.5), (10 + 20 * 4) / (5 + 25 * 4)))
    assert found.decisive is turns["mac"], "as near as the other, and inside its range"
    assert (
        "the mac" in verdict(found, 7)
        and "1.00" in verdict(found, 7)
        and "sources differ that much" in verdict(found, 7)
    )


def test_a_constant_that_is_squared_in_one_place_and_plain_in_another():
    volts = lambda power: number("supply", 2.0, "V", power)
    costs = [cost("a", 4.0, volts(2)), cost("b", 2.0, volts(1)), cost("c", 1.0, number("other", 1.0))]
    first, second = {"a": 1, "b": 1, "c": 10}, {"a": 3, "b": 1, "c": 4}
    found = pair(costs, first, second)
    (turn,) = [t for t in found.turns if t.key == "supply"]
    energy = lambda counts, v: counts["a"] * v**2 + counts["b"] * v + counts["c"]
    assert turn.at == pytest.approx(math.sqrt(3.0))
    assert energy(first, turn.at) == pytest.approx(energy(second, turn.at))


def test_what_no_source_gives_counts_as_nothing_and_may_turn_the_order():
    idle = number("periphery.leakage.power", None, "W", between=(1e-3, 5.0))
    costs = [cost("reads", 1.0, READS), cost("array_seconds", None, idle)]
    found = pair(costs, {"reads": 4, "array_seconds": 9}, {"reads": 10, "array_seconds": 6})
    (turn,) = [t for t in found.turns if t.now is None]
    assert turn.at == pytest.approx(2.0) and turn.inside
    assert turn.ends == pytest.approx(((4 + 9e-3) / (10 + 6e-3), (4 + 45) / (10 + 30)))
    assert "14.0 W for the chip" in verdict(found, 7).replace("\u00a0", " "), "2 W an array, 7 arrays"
    assert not turn.always and found.decisive is turn
    idle = number("periphery.leakage.power", None, "W", between=(3.0, 5.0))
    sure = pair(
        [costs[0], cost("array_seconds", None, idle)],
        {"reads": 4, "array_seconds": 9},
        {"reads": 10, "array_seconds": 6},
    )
    assert sure.turns[0].always and "every value that sources give does that" in verdict(sure, 7)
    # Drawn for longer by the one that takes more already: no power turns that.
    other = pair(costs, {"reads": 4, "array_seconds": 6}, {"reads": 10, "array_seconds": 9})
    assert next(t for t in other.turns if t.now is None).at is None


def test_what_is_set_to_nothing_turns_as_what_is_unknown():
    idle = number("periphery.leakage.power", 0.0, "W", between=(1e-3, 5.0))
    costs = [cost("reads", 1.0, READS), cost("array_seconds", 0.0, idle)]
    found = pair(costs, {"reads": 4, "array_seconds": 9}, {"reads": 10, "array_seconds": 6})
    (turn,) = [t for t in found.turns if t.key == "periphery.leakage.power"]
    assert turn.at == pytest.approx(2.0) and turn.inside and turn.now == 0
    assert turn.ends == pytest.approx(((4 + 9e-3) / (10 + 6e-3), (4 + 45) / (10 + 30)))


def test_a_number_beside_an_unknown_one():
    # Lines of 64 cells of unknown capacitance, at 2 V: 256 C a drive. Both the other lines and reads are known.
    lines = [number("bit_line", None, "F"), number("rows", 64, ""), number("supply", 2.0, "V", 2)]
    costs = [cost("reads", 1.0, READS), cost("drives", None, *lines), cost("words", 4.0, number("supply", 2.0, "V", 2))]
    found = pair(costs, {"reads": 4, "drives": 9, "words": 1}, {"reads": 6, "drives": 6, "words": 0.75})
    turns = {turn.key: turn for turn in found.turns}
    # 4 + 4 + 9 * 256 C = 6 + 3 + 6 * 256 C.
    assert turns["bit_line"].at == pytest.approx(1 / (3 * 256))
    # As C counts as 0: 4 + v^2 = 6 + 0.75 v^2.
    assert turns["supply"].at == pytest.approx(math.sqrt(8)) and turns["supply"].side == "above"
    assert "sources give no range for that one" in verdict(found, 1)
    both = [number("bit_line", None, "F"), number("swing", None, "V")]
    found = pair([costs[0], cost("drives", None, *both)], {"reads": 4, "drives": 9}, {"reads": 6, "drives": 6})
    assert {t.key: t.at for t in found.turns}["bit_line"] is None, "nothing, whatever it is: the other one counts as 0"


def test_a_range_that_leaves_the_second_nothing_has_no_ratio():
    found = pair([cost("macs", 3.0, number("mac", 3.0, between=(0.0, 4.0)))], {"macs": 1}, {"macs": 2})
    assert [turn.ends for turn in found.turns] == [None]


def test_two_that_take_the_same_have_no_order():
    costs = [cost("reads", 1.0, READS), cost("macs", 3.0, MACS)]
    found = pair(costs, {"reads": 3, "macs": 1}, {"reads": 0, "macs": 2}, answers=(2.0, 1.0))
    assert found.even and not found.turns and found.decisive is None
    assert verdict(found, 1).replace("\u00a0", " ") == "Adapting takes the same energy with a and with b, 6.00 J."
    assert "after" not in answers_text(found)


def test_a_formula_that_is_no_product_is_left_out_but_for_written_cells():
    volts = number("cell.programming.set_voltage", 1.2, "V", None)
    published = number("cell.programming.write_energy_published", None, between=(1e-3, 100.0))
    costs = [
        cost("reads", 1.0, READS), cost("", None, volts, tally="pulse_joules", part="write", published=published)
    ]  # fmt: skip
    found = pair(
        costs, {"reads": 20, "pulse_joules": 0.0}, {"reads": 12, "pulse_joules": 10.0},
        answers=(3.0, 2.0), writes=(0.0, 10.0), cells=(0, 5),
    )  # fmt: skip
    keys = {turn.key: turn for turn in found.turns}
    assert "cell.programming.set_voltage" not in keys
    # 2 J a written cell; 20 = 12 + 5 c at c = 1.6 J.
    assert keys[PER_CELL].now == pytest.approx(2.0) and keys[PER_CELL].at == pytest.approx(1.6)
    # a saves 2 J in an adaptation (10 J in writes), and takes 1 J more for an answer.
    assert found.answers == pytest.approx(2.0) and found.writes_eaten == pytest.approx(10.0)
    assert "after 2 answers" in answers_text(found) and "after 10" in answers_text(found)


def test_nothing_turns_what_every_constant_serves_alike():
    found = pair([cost("reads", 1.0, READS)], {"reads": 10}, {"reads": 20})
    assert [turn.at for turn in found.turns] == [None] and found.nearest is None
    assert verdict(found, 1).endswith("No constant turns that.") and not answers_text(found)


def test_every_turn_of_a_report_makes_the_two_energies_equal(report):
    """Against the report's own totals, the constant written into it."""
    data = copy.deepcopy(report)
    for record in data["results"]:
        counts = {"read_conversions": 1e6 + 1e5 * len(record["method"]), "set_pulses": 3e4, "reset_pulses": 1e4}
        counts["pulse_joules"] = 1e-7 * len(record["placement"]) if record["cells_written"] else 0.0
        record["adaptation_event_counts"] = counts
        value = counts["read_conversions"] * 1.67e-12 + counts["pulse_joules"]
        if record["adaptation_energy_joules"]:
            record["adaptation_energy_joules"] = value
    found = sensitivity(typed(data))
    tried = 0
    for one in found.rankings:
        for turn in one.turns:
            if turn.at is not None and turn.key == "periphery.adc.energy":
                counts = [
                    next(r for r in data["results"] if f"{r['method']}:{r['placement']}" == name)[
                        "adaptation_event_counts"
                    ]
                    for name in one.methods
                ]
                first, second = (c["read_conversions"] * turn.at + c["pulse_joules"] for c in counts)
                assert first == pytest.approx(second)
                tried += 1
    assert tried


def test_shares_of_writing(report):
    found = sensitivity(typed(report))
    for share in found.write_shares:
        rest = share.joules_per_cell * (1 - share.share) / share.share
        for part, at in share.at.items():
            assert at / (at + rest) == pytest.approx(part)


def test_what_cannot_be_ranked_is_refused(report):
    data = typed(report)
    with pytest.raises(UsageError, match="did you mean 'lorafusion"):
        sensitivity(data, ["lorafusoin"])
    with pytest.raises(UsageError, match="needs two methods"):
        sensitivity(data, ["lorafusion"])
    with pytest.raises(UsageError, match="no run of 3 shots"):
        sensitivity(data, shots=3)


def test_the_figure_says_what_the_bars_say(report):
    rankings = of_subject(typed(report))
    assert rankings
    drawing = tornado(rankings[0])
    assert drawing is not None and "adc.energy" in drawing.svg and "one conversion" in drawing.alt
