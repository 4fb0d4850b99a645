"""Formatting, grouping, findings and the terminal summary."""

import io
import re
import statistics

import pytest
from edge_adapt.reports import ReportPaths, print_summary
from edge_adapt.reports.findings import break_even, findings
from edge_adapt.reports.records import typed
from edge_adapt.reports.rows import by_shots, paired_difference, rows_of
from edge_adapt.reports.unknown import unknown_components, without
from edge_adapt.reports.values import JOIN, Statistic, area, count, digits, duration, percent, readable, si, signed
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

SCALE = {
    "a": 1e-18,
    "f": 1e-15,
    "p": 1e-12,
    "n": 1e-9,
    "µ": 1e-6,
    "m": 1e-3,
    "": 1.0,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
}


def plain(text: str) -> str:
    return text.replace(JOIN, " ")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0123, "12.3 mJ"),
        (0, "0 J"),
        (None, "–"),
        (999.9, "1.00 kJ"),
        (999.4e-6, "999 µJ"),
        (0.9996e-6, "1.00 µJ"),
        (1e-30, "1.00e-30 J"),
        (-3.4e-6, "-3.40 µJ"),
        (1.5e19, "15.0 EJ"),
    ],
)
def test_si(value, text):
    assert plain(si(value, "J")) == text


@given(st.floats(1e-17, 1e14))
def test_si_is_the_value_to_three_digits(value):
    found = re.fullmatch(r"(\d{1,3}(?:\.\d+)?) ([afpnµmkMGT]?)J", plain(si(value, "J")))
    assert found
    assert float(found[1]) * SCALE[found[2]] == pytest.approx(value, rel=0.00501)
    assert len(found[1].replace(".", "")) == 3


def test_other_forms():
    assert (count(148416), plain(count(1.5e9)), count(None)) == ("148,416", "1.50 G", "–")
    assert [plain(duration(s)) for s in (3600, 86400, 30 * 86400, 90, 0.002, 0)] == [
        "1 h",
        "1 day",
        "30 days",
        "1.50 min",
        "2.00 ms",
        "0 s",
    ]
    assert plain(duration(2 * 365.25 * 86400)) == "2 years"
    assert (plain(area(4.03e-6)), plain(area(2e-10)), area(None), area(0.0)) == (
        "4.03 mm²",
        "200 µm²",
        "–",
        f"0{JOIN}µm²",
    )
    assert (digits(1234.5), digits(0.00012345), digits(99.96), digits(0)) == ("1,230", "0.000123", "100", "0")
    assert (signed(1.66), signed(-0.44), signed(-0.04)) == ("+1.7", "−0.4", "0.0")


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), max_size=8))
def test_statistic_is_that_of_the_standard_library(values):
    known = [v for v in values if v is not None]
    result = Statistic.of(values)
    assert result.count == len(known)
    assert (result.mean is None) == (not known)
    if known:
        assert result.mean == pytest.approx(statistics.fmean(known), abs=1e-6)
    if len(known) > 1:
        assert result.spread == pytest.approx(statistics.stdev(known), abs=1e-6)
    else:
        assert result.spread is None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("ends at 172800 s; beyond (up to 2.592e+06 s) it", "ends at 2 days; beyond (up to 30 days) it"),
        ("file, 2e-09 s, in each cycle of 1e-07 s", "file, 2 ns, in each cycle of 100 ns"),
        ("1.5e-08 s and 5400 s", "15 ns and 1.50 h"),
        ("30 samples, x2 s, 3 shots", "30 samples, x2 s, 3 shots"),
    ],
)
def test_seconds_in_a_text_become_readable(text, wanted):
    assert plain(readable(text)) == wanted


def test_percent():
    assert plain(percent(Statistic.of([0.75, 0.77]))) == "76.0 ± 1.4"
    assert percent(Statistic.of([0.75])) == "75.0"
    assert percent(Statistic.of([None])) == "–"


def test_rows_group_by_method_placement_and_shots(report):
    rows = rows_of(typed(report).results)
    assert len(rows) == 18
    assert all(len(row.records) == 5 for row in rows)
    assert list(by_shots(rows)) == [32, 100]
    assert {row.title for row in rows if row.method == "lora"} == {
        "LoRA · every step",
        "LoRA · per task",
        "LoRA · digital",
    }
    assert {row.title for row in rows if row.method == "lorafusion"} == {"LoRAFusion"}


def test_paired_difference_pairs_by_seed(report):
    rows = by_shots(rows_of(typed(report).results))[100]
    shuffled = next(iter(rows_of(list(reversed(rows[1].records[1:])))))
    difference = paired_difference(rows[0], shuffled, "accuracy_chip")
    pairs = [a.accuracy_chip - b.accuracy_chip for a, b in zip(rows[0].records[1:], rows[1].records[1:], strict=True)]
    assert difference.count == 4
    assert difference.mean == pytest.approx(statistics.fmean(pairs))
    assert difference.spread == pytest.approx(statistics.stdev(pairs))


def unpriced(report):
    """As on a chip whose leakage nobody published."""
    cost = report["device"]["costs"][0]
    report["device"]["costs"].append(cost | {"component": "leakage", "value": None, "counts": ["array_seconds"]})
    for record in report["results"]:
        for what in ("adaptation", "inference"):
            record[f"{what}_energy_by_component_joules"]["leakage"] = 0.0


def said(report, topic: str) -> str:
    return plain(" ".join(finding.text for finding in findings(typed(report)) if finding.topic == topic))


def test_findings_follow_the_data(report):
    text = said(report, "accuracy and energy")
    assert "At 100 shots on the chip, LoRAFusion (75.8 ± 0.3 %; adapting takes 13.1 mJ) is better than LoRA" in text
    assert "a tie with Full fine-tuning" in text
    assert (
        "No cell was written in any of the 50 runs of LoRAFusion, LoRA · digital, Classifier only, Pool, untrained and "
        "Frozen." in said(report, "cell writes")
    )
    assert said(report, "break-even") == (
        "Programming the pool once costs 110 mJ. It is paid back against LoRA · per task after 6 tasks; against LoRA · "
        "every step after 1 task or after 7 steps after the initial values are written; against Full "
        "fine-tuning · every step after 1 task or after 1 step."
    )
    assert "LoRA · every step after" in said(report, "wear")
    assert "LoRAFusion" not in said(report, "wear")
    assert "after 30 days," in said(report, "drift")


def test_what_drift_compensation_takes_is_said_where_there_is_one(report):
    assert "compensation" not in said(report, "drift")
    for record in report["results"]:
        record["compensation_energy_joules"] = 1.76e-4
    assert "drift compensation takes 176 µJ each time" in said(report, "drift")


def with_comparisons(report, verdict, **fields):
    """The report with every comparison decided alike."""
    for comparison in report["comparisons"]:
        comparison.update(verdict=verdict, **fields)
    return report


def test_findings_change_with_the_data(report):
    for record in report["results"]:
        if record["method"] == "lorafusion":
            record["cells_written"] = record["readaptation_cells_written"] = 5
    assert "LoRAFusion 5" in said(report, "cell writes")
    assert "Adapting LoRAFusion again after 30 days brings back" in said(report, "verdict")
    assert "and writes 5 cells." in said(report, "verdict")
    report["pool_fit"]["verdict"] = "does not fit"
    assert said(report, "pool fit").startswith("The pool does not fit this task.")


def test_the_verdict_says_what_the_comparisons_say(make_report):
    report = make_report(shots=(100,), seeds=2)
    numbers = {"difference_points": -3.14, "standard_error_points": 1.2}
    assert said(with_comparisons(report, "worse", **numbers), "verdict") == (
        "LoRAFusion against LoRA · digital at 100 shots: on the chip LoRAFusion is 3.1 ± 1.2 points worse; 30 days "
        "later LoRAFusion is 3.1 ± 1.2 points worse. Adapting LoRAFusion again after 30 days loses "
        "another 3.1 ± 1.2 points. It takes 6.55 mJ and writes no cell."
    )
    assert said(with_comparisons(report, "tie", **numbers, interval_points=5.8, runs=2), "verdict") == (
        "LoRAFusion against LoRA · digital at 100 shots: on the chip they are a tie (−3.1 ± 1.2 points); 30 days later "
        "they are a tie (−3.1 ± 1.2 points). These 2 runs can show a difference of about 6 points or more. "
        "With --seeds 8, half of that is enough. Adapting LoRAFusion again after 30 days shows no clear change "
        "(−3.1 ± 1.2 points, a tie). It takes 6.55 mJ and writes no cell."
    )
    few = said(with_comparisons(report, "too few", standard_error_points=None), "verdict")
    assert "on the chip there are too few answers to tell" in few
    assert few.endswith(
        "There are too few answers to tell what adapting LoRAFusion again after 30 days changes. It takes 6.55 mJ and "
        "writes no cell."
    )


def test_a_tie_is_never_called_better(make_report):
    """Whatever the means are: no word of a finding ranks rows that the error does not tell apart."""
    report = with_comparisons(make_report(shots=(100,), seeds=2), "tie")
    text = " ".join(plain(finding.text) for finding in findings(typed(report))).lower()
    for word in ("most accurate", "best", "better than", "worse than", "brings back", "loses"):
        assert word not in text
    assert "is a tie with" in text and "(a tie)" in text


def test_every_report_tells_the_gain_over_the_start(make_report):
    report = make_report(shots=(100,), seeds=2)
    assert "LoRAFusion changes by +0.6 ± 1.7 points from its start" in said(report, "gain over the start")
    for verdict, numbers, words in (
        ("tie", (-6.2, 4.1), "LoRAFusion changes by −6.2 ± 4.1 points from its start, Pool, untrained (a tie)"),
        ("too few", (-6.2, None), "LoRAFusion changes by −6.2 points from its start, Pool, untrained (too few"),
        ("better", (6.2, 2.1), "LoRAFusion gains 6.2 ± 2.1 points over its start, Pool, untrained"),
        ("worse", (-6.2, 2.1), "LoRAFusion loses 6.2 ± 2.1 points against its start, Pool, untrained"),
    ):
        difference, error = numbers
        given = with_comparisons(report, verdict, difference_points=difference, standard_error_points=error)
        assert words in said(given, "gain over the start"), verdict
    series = [s for s in make_report.__globals__["SERIES"] if s[0] in ("probe", "frozen")]
    assert said(make_report(shots=(100,), seeds=2, series=series), "verdict").startswith(
        "On the chip at 100 shots, Classifier only gains 17"
    )
    alone = make_report(shots=(100,), seeds=2, series=series[1:])
    assert said(alone, "verdict").endswith("right on the chip. It is compared with nothing.")


def test_what_errors_hold_is_said(make_report):
    assert "the choice of test examples, the draws of labelled examples, and the chips" in said(
        make_report(seeds=2), "errors"
    )
    one = said(make_report(shots=(100,), seeds=1), "errors")
    assert "(400 in 1 run). The error covers only the choice of test examples" in one
    assert "3 comparisons chosen before the run" in one


def test_the_chips_are_told_apart(make_report):
    text = said(make_report(shots=(100,), seeds=2), "chips")
    assert text.startswith("On the 2 chips the weights are off by 19.0 to 19.1 % on average and 21.0 to 21.2 % RMS.")
    assert said(make_report(shots=(100,), seeds=1), "chips") == ""


def test_the_write_of_the_initial_values_may_pay_the_pool_back_alone(report):
    report["break_even"]["versus"] = [report["break_even"]["versus"][1] | {"steps": 0}]
    assert break_even(typed(report))[0].text.endswith(
        "every step after 1 task or before the first step, because writing the initial values alone costs more."
    )


def test_never_paid_back(report):
    report["break_even"]["versus"] = [report["break_even"]["versus"][0] | {"tasks": None, "steps": None}]
    assert break_even(typed(report))[0].text.endswith("mJ. It is never paid back against LoRA · per task.")


@pytest.mark.parametrize("width", [80, 100, 140, 200])
def test_the_summary_fits(report, tmp_path, width):
    stream = io.StringIO()
    console = Console(file=stream, width=width)
    paths = ReportPaths(tmp_path, tmp_path / "report.json", tmp_path / ("x" * 120 + ".html"), ())
    print_summary(report, console, paths)
    lines = stream.getvalue().splitlines()
    assert "\x1b" not in stream.getvalue(), "no colour codes when not a terminal"
    assert JOIN not in stream.getvalue()
    assert lines[-1] == f"report: {paths.html}", "the path is on one line, to be copied"
    assert all(len(line) <= width for line in lines[:-1])
    assert "…" not in stream.getvalue(), "nothing is cut off"
    for row in rows_of(typed(report).results):
        for value in (
            percent(row.stat("accuracy_chip")),
            si(row.stat("adaptation_energy_joules").mean, "J"),
            si(row.stat("inference_energy_joules").mean, "J"),
            count(row.stat("cells_written").mean),
        ):
            assert plain(value) in stream.getvalue()
    for title in ("LoRAFusion", "~ Full fine-tuning", "Classifier only", "Frozen"):
        assert any(line.startswith(title) for line in lines)
    for words in (
        "20.1 M cells once, 1.42 J",
        "The pool fits this task",
        "programming a cell over reading it 52,000 ×",
    ):
        assert words in " ".join(stream.getvalue().split())


def test_the_summary_says_what_its_numbers_leave_out(report):
    report["messages"] = ["the table ends at 172800 s"]
    stream = io.StringIO()
    print_summary(report, Console(file=stream, width=200))
    assert "trained: without the head" in stream.getvalue()
    assert "whose price is unknown" not in stream.getvalue()
    assert "the table ends at 2 days" in stream.getvalue()
    unpriced(report)
    print_summary(report, Console(file=stream, width=200))
    assert "energies without standby of arrays, whose price is unknown" in stream.getvalue()


def test_a_component_is_unknown_where_no_event_of_it_has_a_price(report):
    assert unknown_components(typed(report).device) == ()
    unpriced(report)
    assert unknown_components(typed(report).device) == ("leakage",)
    assert unknown_components(typed(report).device, "time") == ()
    report["device"]["costs"].append(report["device"]["costs"][-1] | {"value": 1e-3})
    assert unknown_components(typed(report).device) == (), "one of its prices is known"
    assert without(("leakage", "dac", "cells_read")) == "without standby of arrays, DAC and cells, read"


def test_long_names_do_not_push_numbers_out(make_report):
    report = make_report(shots=(100,))
    for record in report["results"]:
        if record["method"] == "lora":
            record["method"] = "a-very-long-method-name-of-a-user's-own-making-[bold]"
    stream = io.StringIO()
    print_summary(report, Console(file=stream, width=80))
    assert all(len(line) <= 80 for line in stream.getvalue().splitlines())
    assert "47.4 mJ" in stream.getvalue()
