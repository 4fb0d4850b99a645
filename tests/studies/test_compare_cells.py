"""A finished simulation is found again exactly when it would come out the same; options of a comparison."""

import dataclasses
import json
import re

import pytest
from edge_adapt.errors import UsageError
from edge_adapt.studies.compare import command_of
from edge_adapt.studies.compare_cells import CellStore, FinishedCell
from edge_adapt.studies.compare_config import CompareConfig, read_compare_config, split_names
from edge_adapt.studies.compare_report import messages, references
from edge_adapt.studies.config import SimulateConfig

DONE = FinishedCell(1.5, {"results": [{"accuracy_chip": 0.1 + 0.2, "note": "±"}]})


KEY = {
    "schema": "s", "version": "1", "code": "c", "fields": "f", "packages": {"numpy": "2"}, "arithmetic": "a",
    "options": {"seeds": 1, "settings": {}}, "chip": "x", "model": "m", "pool": None, "task": "t", "methods": "r",
}  # fmt: skip


@pytest.fixture
def config():
    return SimulateConfig(task="here/my task.csv")


def test_a_finished_simulation_comes_back_as_it_was(tmp_path, config):
    store = CellStore(tmp_path / "out")
    assert store.load(config, KEY) is None
    assert not store.folder.exists()
    store.save(config, KEY, DONE)
    assert store.load(config, KEY) == DONE
    (path,) = store.folder.iterdir()
    assert re.fullmatch("reram-my-task-[0-9a-f]{16}.json", path.name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"chip": "y"}, ["the chip (its array, cell or periphery)"]),
        ({"model": "y"}, ["the model"]),
        ({"pool": "y"}, ["the pool"]),
        ({"task": "y"}, ["the task's examples"]),
        ({"methods": "y"}, ["the methods' settings"]),
        ({"arithmetic": "y"}, ["how the processor multiplies"]),
        ({"fields": "y"}, ["the fields of a report"]),
        ({"code": "y"}, ["the code of edge-adapt"]),
        ({"version": "2", "code": "y"}, ["edge-adapt 1 -> 2"]),
        ({"packages": {"numpy": "3"}}, ["numpy 2 -> 3"]),
        ({"options": {"seeds": 2, "settings": {}}}, ["seeds 1 -> 2"]),
        ({"options": {"seeds": 1, "settings": {"a.b": "3"}}, "methods": "y"}, ["settings none -> a.b=3"]),
        ({"chip": "y", "task": "z"}, ["the chip (its array, cell or periphery)", "the task's examples"]),
    ],
)
def test_what_would_come_out_differently_is_computed_again_and_told(tmp_path, config, change, words):
    store = CellStore(tmp_path / "out")
    store.save(config, KEY, DONE)
    changed = KEY | change
    assert store.load(config, changed) is None
    assert store.changed(config, changed) == words
    store.save(config, changed, DONE)
    assert store.load(config, KEY) == DONE, "an input that is put back finds its own simulation again"


def test_the_nearest_former_simulation_is_told_of(tmp_path, config):
    store = CellStore(tmp_path / "out")
    assert store.changed(config, KEY) == []
    store.save(config, KEY | {"chip": "y", "model": "y"}, DONE)
    store.save(config, KEY | {"pool": "y"}, DONE)
    store.save(dataclasses.replace(config, device="pcm"), KEY | {"version": "0"}, DONE)
    assert store.changed(config, KEY) == ["the pool"]


def test_a_damaged_file_is_none(tmp_path, config):
    store = CellStore(tmp_path / "out")
    store.save(config, KEY, DONE)
    path = store.path(config, KEY)
    whole = path.read_text()
    for damaged in (whole[: len(whole) // 2], "[]", "{}", whole.replace("accuracy_chip", "accuracy_chap")):
        path.write_text(damaged)
        assert store.load(config, KEY) is None
        store.changed(config, KEY | {"chip": "y"})
    path.write_text(json.dumps(json.loads(whole), indent=2))
    assert store.load(config, KEY) == DONE, "only the contents count"


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
    wrong = {"device: pcm": "did you mean 'devices'", "devices: 3": "`devices` takes a text; got 3", "x: 1": "option"}
    for text, message in wrong.items():
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
    assert [(r.citation, r.used_for) for r in merged] == [("A", ["x", "y"]), ("B", ["x"])]
    assert entry["used_for"] == ["x"]
