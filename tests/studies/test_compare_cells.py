"""A finished simulation is found again exactly when it would come out the same; options of a comparison."""

import dataclasses
import json

import pytest
from edge_adapt.errors import UsageError
from edge_adapt.studies import compare_cells
from edge_adapt.studies.compare import command_of
from edge_adapt.studies.compare_cells import CellStore, FinishedCell
from edge_adapt.studies.compare_config import CompareConfig, read_compare_config, split_names
from edge_adapt.studies.compare_report import messages, references
from edge_adapt.studies.config import SimulateConfig

DONE = FinishedCell(1.5, {"results": [{"accuracy_chip": 0.1 + 0.2, "note": "±"}]})


@pytest.fixture
def config(tmp_path):
    task = tmp_path / "my task.csv"
    task.write_text("text,label\n")
    return SimulateConfig(task=str(task))


def test_a_finished_simulation_comes_back_as_it_was(tmp_path, config):
    store = CellStore(tmp_path / "out")
    assert store.load(config) is None
    assert not store.folder.exists()
    store.save(config, DONE)
    assert store.load(config) == DONE
    assert [p.name for p in store.folder.iterdir()] == [f"reram-my-task-{config.digest()}.json"]


@pytest.mark.parametrize("change", [{"seeds": 2}, {"device": "pcm"}, {"settings": (("chip.adc.bits", "6"),)}])
def test_another_configuration_is_another_simulation(tmp_path, config, change):
    store = CellStore(tmp_path / "out")
    store.save(config, DONE)
    assert store.load(dataclasses.replace(config, **change)) is None


def test_what_would_come_out_differently_is_computed_again(tmp_path, config, monkeypatch):
    store = CellStore(tmp_path / "out")
    store.save(config, DONE)
    path = store.path(config)
    whole = path.read_text()
    for damaged in (whole[: len(whole) // 2], "[]", "{}", whole.replace("accuracy_chip", "accuracy_chap")):
        path.write_text(damaged)
        assert store.load(config) is None
    path.write_text(json.dumps(json.loads(whole), indent=2))
    assert store.load(config) == DONE, "only the contents count"
    with monkeypatch.context() as context:
        context.setattr(compare_cells, "__version__", "99")
        assert store.load(config) is None
    with monkeypatch.context() as context:
        context.setattr(compare_cells, "FIELDS", compare_cells.FIELDS[:-1])
        assert store.load(config) is None, "reports have another field now"
    (tmp_path / "my task.csv").write_text("text,label\nfine,up\n")
    assert store.load(config) is None, "the task has changed"


def test_options_from_a_file(tmp_path):
    path = tmp_path / "table.yaml"
    path.write_text(
        "devices: [reram, 'pcm, sram']\ntasks: movie\nmethods: all\nseeds: 2\nshots: 50\n"
        "set: {adc.bits: 6}\nout: here\n"
    )
    options = read_compare_config(path)
    assert str(options.pop("out")) == "here"
    config = CompareConfig.of(options)
    assert (config.devices, config.tasks, config.study.seeds) == (("reram", "pcm", "sram"), ("movie",), 2)
    assert (config.study.shots, config.study.settings) == ((50,), (("adc.bits", "6"),))
    for text, message in (("device: pcm", "did you mean 'devices'"), ("devices: 3", "takes names"), ("x: 1", "option")):
        path.write_text(text)
        with pytest.raises(UsageError, match=message):
            read_compare_config(path)


def test_the_table_is_every_device_on_every_task_once():
    config = CompareConfig(("reram", "pcm", "reram"), ("movie", "tweets"))
    assert [(c.task, c.device) for c in config.cells()] == [
        ("movie", "reram"), ("movie", "pcm"), ("tweets", "reram"), ("tweets", "pcm")
    ]  # fmt: skip
    assert config.digest() != CompareConfig(("reram",), ("movie", "tweets")).digest()
    assert config.study.seeds == 3
    with pytest.raises(UsageError, match="devices"):
        CompareConfig(devices=())
    with pytest.raises(UsageError, match="one number of shots"):
        CompareConfig(study=SimulateConfig(shots=(10, 20)))
    assert split_names(["a,b", " c ", "", "d:DIGITAL,"]) == ("a", "b", "c", "d:DIGITAL")


def test_the_command_of_one_simulation_gives_its_configuration_back():
    from edge_adapt.cli import build_parser

    config = SimulateConfig(device="pcm", method=("lora:DIGITAL", "probe"), shots=(8,), settings=(("adc.bits", "6"),))
    words = command_of(config).split()
    args = build_parser().parse_args(words[1:])
    assert (args.device, args.task, args.method, args.shots) == ("pcm", "movie", [["lora:DIGITAL", "probe"]], [8])
    assert args.settings == ["adc.bits=6"]
    assert args.seeds is None, "as the default"


def test_messages_and_references_come_once():
    cells = [SimulateConfig(device=device) for device in ("reram", "pcm")]
    entry = {"key": "a", "citation": "A", "doi": None, "used_for": ["x"]}
    reports = [{"messages": ["both", "one"]}, {"messages": ["both"]}]
    assert messages(list(zip(cells, reports, strict=True))) == ["both", "reram: one"]
    merged = references([[entry], [entry | {"used_for": ["x", "y"]}, entry | {"citation": "B"}]])
    assert [(r["citation"], r["used_for"]) for r in merged] == [("A", ["x", "y"]), ("B", ["x"])]
    assert entry["used_for"] == ["x"]
