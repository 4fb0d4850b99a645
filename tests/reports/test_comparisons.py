"""Which rows are compared, and which of the comparisons were named beforehand."""

from edge_adapt.reports.comparisons import comparisons
from edge_adapt.reports.records import plain


def names(entry):
    return entry["method"], entry["placement"], entry["against_method"], entry["against_placement"]


def test_the_subject_meets_every_row_and_every_trained_row_its_start(report, answers):
    found = plain(comparisons(answers(report)))
    on_chip = {names(c) for c in found if c["shots"] == 100 and c["outcome"] == c["against_outcome"] == "chip"}
    rows = {(r["method"], r["placement"]) for r in report["results"]}
    assert {pair[2:] for pair in on_chip if pair[0] == "lorafusion"} == rows - {("lorafusion", "DIGITAL")}
    starts = {(r["method"], r["placement"]): r["start"] for r in report["results"]}
    for row, start in starts.items():
        assert (start is None) or any(pair[:2] == row and pair[2] == start for pair in on_chip), row
    assert len(found) == len({(c["shots"], c["outcome"], c["against_outcome"], *names(c)) for c in found})


def test_three_comparisons_of_each_number_of_shots_were_named_beforehand(report):
    primary = [c for c in report["comparisons"] if c["primary"]]
    assert report["comparisons"][: len(primary)] == primary
    told = [(c["shots"], c["outcome"], c["against_outcome"], *names(c)) for c in primary]
    lora, itself = ("lorafusion", "DIGITAL", "lora", "DIGITAL"), ("lorafusion", "DIGITAL", "lorafusion", "DIGITAL")
    assert told == [
        (shots, *outcomes, *rows)
        for shots in (32, 100)
        for *outcomes, rows in (("chip", "chip", lora), ("drifted", "drifted", lora), ("readapted", "drifted", itself))
    ]


def test_without_the_subject_there_are_only_gains_and_recoveries(make_report, answers):
    report = make_report(shots=(100,), seeds=2)
    report["results"] = [r for r in report["results"] if r["method"] in ("probe", "frozen")]
    found = plain(comparisons(answers(report)))
    assert {(c["outcome"], c["against_outcome"]) for c in found} == {
        ("exact", "exact"), ("chip", "chip"), ("drifted", "drifted"), ("readapted", "drifted"),
    }  # fmt: skip
    assert not any(c["primary"] for c in found)
