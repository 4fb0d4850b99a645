"""`edge-adapt sensitivity`: a table, one JSON object, a figure, and what is refused."""

import json

import pytest
from edge_adapt import cli


@pytest.fixture
def path(report, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    return folder


def test_a_table_for_every_pair(path, capsys):
    assert cli.main(["sensitivity", str(path)]) == 0
    out = capsys.readouterr().out
    assert out.count("Adapting takes less energy with") == 7 * 6 / 2
    assert "a written cell takes" in out


def test_one_object_of_the_pairs_that_are_asked_for(path, capsys):
    assert cli.main(["sensitivity", str(path), "--method", "lorafusion", "lora:nvm_step", "full", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [set(ranking["methods"]) for ranking in found["rankings"]] == [
        {"lorafusion:DIGITAL", name} for name in ("lora:NVM_STEP", "full:NVM_STEP", "full:NVM_TASK")
    ]


def test_a_figure_is_written(path, tmp_path, capsys):
    figure = tmp_path / "tornado.svg"
    assert cli.main(["sensitivity", str(path), "--figure", str(figure)]) == 0
    assert figure.read_text(encoding="utf-8").startswith("<?xml") and capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "lora:NVM_TSK"], "did you mean"),
        (["--method", "lorafusion"], "needs two methods"),
        (["--shots", "3"], "no run of 3 shots"),
        (["--figure", "tornado.png"], "writes SVG"),
        (["--figure", "nowhere/tornado.svg"], "there is no folder"),
    ],
)
def test_what_cannot_be_done_is_refused(path, words, message, capsys):
    assert cli.main(["sensitivity", str(path), *words]) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1


def test_methods_may_be_named_with_several_options(path, capsys):
    assert cli.main(["sensitivity", str(path), "--method", "lorafusion", "--method", "lora:nvm_step", "--json"]) == 0
    (ranking,) = json.loads(capsys.readouterr().out)["rankings"]
    assert set(ranking["methods"]) == {"lorafusion:DIGITAL", "lora:NVM_STEP"}


def test_a_report_without_events_or_fields_says_to_run_it_again(path, capsys):
    file = path / "report.json"
    report = json.loads(file.read_text(encoding="utf-8"))
    for record in report["results"]:
        record["adaptation_event_counts"] = None
    file.write_text(json.dumps(report), encoding="utf-8")
    assert cli.main(["sensitivity", str(path)]) == 1
    err = capsys.readouterr().err
    assert "no event counts" in err and "run the command again" in err and len(err.splitlines()) == 1
    del report["device"]["costs"][0]["numbers"][0]["range"]
    file.write_text(json.dumps(report), encoding="utf-8")
    assert cli.main(["sensitivity", str(path)]) == 1
    err = capsys.readouterr().err
    assert "numbers[0].range is missing" in err and "run its `command` again" in err and len(err.splitlines()) == 1


def test_events_that_do_not_make_the_energies_are_refused(path, capsys):
    file = path / "report.json"
    report = json.loads(file.read_text(encoding="utf-8"))
    for record in report["results"]:
        record["adaptation_event_counts"]["read_conversions"] *= 2
    file.write_text(json.dumps(report), encoding="utf-8")
    assert cli.main(["sensitivity", str(path)]) == 1
    err = capsys.readouterr().err
    assert "add up to" in err and len(err.splitlines()) == 1
