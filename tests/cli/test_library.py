"""The package as a library gives what the command line gives, and refuses what it refuses."""

import io
import json
import sys
from dataclasses import dataclass
from typing import Any

import edge_adapt
import numpy as np
import pytest
from edge_adapt.display import Shown, html_table
from edge_adapt.errors import MissingExtraError, UsageError
from edge_adapt.simulator import program
from edge_adapt.simulator.accounting import EventCounts
from edge_adapt.simulator.costs import CostTable


@pytest.fixture(scope="module")
def run(local) -> edge_adapt.Report:
    return edge_adapt.simulate(
        "sram", model=local.model, task=local.task, pool=str(local.pool), method=["lorafusion", "probe"], shots=8,
        seeds=1, test_examples=10, jobs=1, settings={"lorafusion.recipe.epochs": 1},
    )  # fmt: skip


def test_simulate_is_the_command(run, local, cli):
    """The command that the report names gives the same records."""
    words = run.data["command"].split()
    assert words[:2] == ["edge-adapt", "simulate"]
    done = cli(*words[1:], "--jobs", "1", "--json")
    assert done.code == 0, done.err
    printed = json.loads(done.out)
    assert printed["results"] == run.results
    assert printed["config"] == run.data["config"]


def test_a_report_says_how_methods_were_trained(run, local):
    """Strategies that are not the usual ones: in every record, in a message with their options, with their source."""
    for record in run.results:
        assert [record[name] for name in ("objective", "sampler", "optimiser", "hooks")] == [
            "cross-entropy", "epochs", "adamw", ""
        ]  # fmt: skip
    assert not any("trained with" in message for message in run.data["messages"])
    settings = {"recipe.objective": "label-smoothing", "recipe.smoothing": 0.3, "probe.recipe.epochs": 1,
                "bitfit.recipe.epochs": 1, "bitfit.recipe.optimiser": "sgd"}  # fmt: skip
    smoothed = edge_adapt.simulate(
        "sram", model=local.model, task=local.task, pool=str(local.pool), method=["probe", "bitfit:DIGITAL"], shots=8,
        seeds=1, test_examples=10, jobs=1, settings=settings,
    )  # fmt: skip
    found = {record["method"]: (record["objective"], record["optimiser"]) for record in smoothed.results}
    assert found == {"probe": ("label-smoothing", "adamw"), "bitfit": ("label-smoothing", "sgd")}
    messages = smoothed.data["messages"]
    assert "probe, bitfit: trained with the objective label-smoothing (smoothing 0.3)" in messages
    assert "bitfit: trained with the optimiser sgd" in messages
    (source,) = [r for r in smoothed.data["references"] if r["key"] == "label-smoothing"]
    assert "1512.00567" in source["citation"] and source["used_for"] == ["objective label-smoothing"]


def test_a_report_says_what_it_holds(run):
    assert len(run.results) == 2
    assert repr(run) == "Report(simulate on sram: lorafusion, probe; 2 records)"
    assert run.verdict and run.verdict in run._repr_html_().replace("&#x27;", "'").replace("\u00a0", "\u00a0")
    table = run._repr_html_()
    assert "LoRAFusion" in table and "Classifier only" in table
    copied = run.to_dict()
    copied["results"].clear()
    assert len(run.results) == 2


def test_a_report_comes_back_from_its_folder(run, tmp_path):
    folder = run.save(tmp_path / "report")
    assert {path.name for path in folder.iterdir()} == {"report.json", "report.html", "results.csv", "figures"}
    for path in (folder, folder / "report.json", str(folder)):
        assert edge_adapt.load_report(path).to_dict() == run.to_dict()


def test_a_frame_has_a_row_for_each_record(run, monkeypatch):
    pandas = pytest.importorskip("pandas")
    frame = run.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["method"]) == [record["method"] for record in run.results]
    assert list(frame["adaptation_energy_joules"]) == [r["adaptation_energy_joules"] for r in run.results]
    assert "drift" not in frame


def test_a_frame_without_pandas_names_the_extra(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"edge-adapt\[frame\]"):
        run.to_frame()


def test_compare_is_kept_in_its_folder(local, tmp_path):
    options: dict[str, Any] = {
        "tasks": str(local.task), "methods": ("frozen", "probe"), "model": local.model, "pool": local.pool, "shots": 8,
        "seeds": 1, "test_examples": 10, "jobs": 1, "out": tmp_path / "table",
    }  # fmt: skip
    found = edge_adapt.compare(["sram"], **options)
    assert repr(found) == "Report(compare on sram: frozen, probe; 2 records)"
    assert found.verdict == found.data["findings"][0]["text"]
    assert edge_adapt.load_report(tmp_path / "table").to_dict() == found.to_dict()
    again = edge_adapt.compare(["sram"], **options)
    assert again.results == found.results


def test_count_is_the_command(cli):
    found = edge_adapt.count("pcm", method="probe", settings={"adc.bits": 6})
    done = cli(*found.data["command"].split()[1:], "--json")
    printed = json.loads(done.out)
    for name in ("results", "programming", "config", "device"):
        assert printed[name] == found.data[name]
    assert found.verdict.startswith("Energy of one adaptation: least Classifier only")
    assert found.comparisons == []


@pytest.mark.parametrize(
    ("function", "options", "said"),
    [
        ("simulate", {"shot": 3}, "unknown option 'shot'; did you mean 'shots'"),
        ("simulate", {"device": "rream"}, "unknown device 'rream'; did you mean 'reram'"),
        ("simulate", {"shots": "3"}, "shots takes a whole number; got '3'"),
        ("simulate", {"seeds": True}, "seeds takes a whole number; got True"),
        ("simulate", {"seeds": 0}, "seeds must be at least 1; got 0"),
        ("simulate", {"method": 3}, "method takes a text; got 3"),
        ("simulate", {"settings": "adc.bits=6"}, "settings takes a mapping of KEY to VALUE"),
        ("simulate", {"readapt_share": "half"}, "readapt_share takes a number; got 'half'"),
        ("simulate", {"jobs": 0}, "jobs must be a whole number, 1 or more; got 0"),
        ("simulate", {"out": "."}, "working folder"),
        ("compare", {"devices": [3]}, "devices takes a text; got 3"),
        ("compare", {"task": "movie"}, "unknown option 'task'"),
        ("count", {"modle": "minilm"}, "unknown option 'modle'; did you mean 'model'"),
        ("count", {"model": "minillm"}, "did you mean 'minilm'"),
        ("count", {"out": "."}, "working folder"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(function, options, said, here):
    with pytest.raises(UsageError) as refused:
        getattr(edge_adapt, function)(**options)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "there is no report"), ("{", "cannot read the report"), ("[]", "is no report of"),
     ('{"schema": "other/1"}', "its schema is 'other/1'")],
)  # fmt: skip
def test_what_is_no_report_is_refused(text, said, tmp_path):
    path = tmp_path / "report.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=said):
        edge_adapt.load_report(path)
    with pytest.raises(UsageError, match="there is no report in" if text is None else said):
        edge_adapt.load_report(tmp_path)


def test_every_public_name_is_there():
    for name in edge_adapt.__all__:
        assert getattr(edge_adapt, name) is not None
    assert set(edge_adapt.__all__) <= set(dir(edge_adapt))
    with pytest.raises(AttributeError, match="no attribute 'simulated'"):
        _ = edge_adapt.simulated


def test_objects_with_arrays_show_one_short_line(local):
    from edge_adapt.methods import METHODS
    from edge_adapt.workloads.models import load_backbone
    from edge_adapt.workloads.pools import load_pool
    from edge_adapt.workloads.tasks import load_task

    chip, rng = edge_adapt.load_chip("sram"), np.random.default_rng(0)
    model = program(chip, {"w": rng.normal(size=(8, 16))}, rng)
    model.matvec("w", np.ones(16))
    backbone, pool = load_backbone(str(local.model)), load_pool(local.pool)
    adaptation = METHODS["probe"].attach(backbone, 2, rng)
    objects = {
        "name='sram'": chip, "weights=128": model, "reads=1.0": model.counts,
        "total_joules=": CostTable.of(chip).cost(model.counts), "costs=": CostTable.of(chip),
        "modules=": pool, "hidden_size=16": backbone, "train=": load_task(str(local.task)), "'probe'": adaptation,
    }  # fmt: skip
    for part, shown in objects.items():
        line = repr(shown)
        assert part in line and line.startswith(f"{type(shown).__name__}(")
        assert len(line) < 400 and "\n" not in line and "array(" not in line
        assert shown._repr_html_().startswith(f"<table><caption>{type(shown).__name__}</caption>")
    assert repr(EventCounts()) == "EventCounts()"


def test_tables_escape_their_texts():
    @dataclass(repr=False)
    class Named(Shown):
        name: str

        def _facts(self) -> dict[str, object]:
            return {"name": self.name}

    assert "<b>" not in Named("<b>x</b>")._repr_html_()
    assert html_table([["<i>"]], heading=["&"]) == (
        "<table><thead><tr><th>&amp;</th></tr></thead><tbody><tr><td>&lt;i&gt;</td></tr></tbody></table>"
    )


def test_progress_is_shown_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default; `progress` decides otherwise."""
    from edge_adapt import library

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, given, shown in (
        (io.StringIO(), None, False), (io.StringIO(), True, True), (Terminal(), None, True), (Terminal(), False, False),
    ):  # fmt: skip
        monkeypatch.setattr("sys.stderr", stream)
        with library._shown(given) as bar:
            assert (bar is not None) is shown
        assert bool(stream.getvalue()) is shown
