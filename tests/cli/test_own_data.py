"""A user's file with other names, separators and letters, through the commands of the workstation."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from edge_adapt.defaults import DEFAULT_TEST_EXAMPLES
from edge_adapt.reports import validate


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """40 texts and a wrong line, as a spreadsheet of Windows writes them."""
    rows = [f"the film was {word} {'very ' * (i % 4)}{'so ' * (i // 4)};{label}"
            for word, label in (("good", "à voir"), ("bad", "non")) for i in range(20)]  # fmt: skip
    path = tmp_path / "reviews.csv"
    path.write_bytes("\r\n".join(["sep=;", "review;stars", *rows, "odd"]).encode("cp1252"))
    return path


OPTIONS = ("--text-column", "review", "--label-column", "stars", "--encoding", "cp1252", "--on-error", "skip")
SMALL = ("--method", "frozen", "--fidelity", "ideal", "--jobs", "1", "--out", "report")


def test_a_simulation_reads_the_file_as_it_is(cli: Callable, here: Path, local, reviews: Path) -> None:
    done = cli(*local.words("--task", str(reviews)), *SMALL, *OPTIONS)
    assert done.code == 0, done.err
    report = json.loads((here / "report" / "report.json").read_text())
    validate(report)
    assert report["task"]["labels"] == ["non", "à voir"]
    said = [
        f"{reviews}: 1 line left out; the first, line 43: 1 fields, but the header has 2; put texts with commas in "
        "double quotes",
        f"the test has 20 examples instead of {DEFAULT_TEST_EXAMPLES}: half of the 40 texts of the task",
    ]
    assert [message for message in report["messages"] if message in said] == said
    printed = [line.removeprefix("edge-adapt: ") for line in done.err.splitlines() if line.startswith("edge-adapt: ")]
    assert printed == said
    assert {name: report["config"][name] for name in ("text_column", "label_column", "encoding", "on_error")} == {
        "text_column": "review", "label_column": "stars", "encoding": "cp1252", "on_error": "skip",
    }  # fmt: skip


def test_the_same_options_in_a_file(cli: Callable, here: Path, local, reviews: Path) -> None:
    config = here / "study.yaml"
    lines = ["text-column: review", "label_column: stars", "encoding: cp1252", "on-error: skip"]
    config.write_text("\n".join(lines) + "\n")
    words = local.words("--task", str(reviews), "--shots", "500", "--config", str(config))
    cli(*words, "--method", "frozen").assert_refused(2, "500 shots asked for, but only 20 examples")
    for gone, said in enumerate(("no column 'text'", "no column 'label'", "not UTF-8 text", "line 43: 1 fields")):
        config.write_text("\n".join(line for n, line in enumerate(lines) if n != gone) + "\n")
        cli(*words, "--method", "frozen").assert_refused(2, str(reviews), said)
    compared = ("compare", "--tasks", str(reviews), "--methods", "frozen", "--model", str(local.model))
    cli(*compared, "--shots", "500", *OPTIONS).assert_refused(2, "500 shots asked for, but only 20 examples")
    exported = ("export", "--task", str(reviews), "--method", "probe", "--model", str(local.model / "none"))
    cli(*exported).assert_refused(2, str(reviews), "no column 'text'")
