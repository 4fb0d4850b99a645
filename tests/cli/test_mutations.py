"""Spoilt pools, models, devices, studies and reports: a result, or one line; never a traceback. See `mutants`."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from edge_adapt import devices
from edge_adapt.errors import EdgeAdaptError
from edge_adapt.reports.explain import TOTALS, available, choose_record, explain
from edge_adapt.reports.loaded import load_report
from edge_adapt.reports.reading import read_report
from edge_adapt.workloads.models import load_backbone
from edge_adapt.workloads.pools import load_pool

Mutants = Callable[[bytes, int], Iterator[bytes]]
HOME = Path(devices.__file__).parent


def tried(work: Callable[[], object]) -> None:
    """What a reader refuses, it refuses by an error of ours, which is shown in one line."""
    with contextlib.suppress(EdgeAdaptError):
        work()


@pytest.mark.parametrize("name", ["module-0/adapter_config.json", "module-0/adapter_model.safetensors", "pool.json"])
def test_spoilt_pools(local: Any, tmp_path: Path, mutants: Mutants, name: str) -> None:
    pool, backbone = Path(shutil.copytree(local.pool, tmp_path / "pool")), load_backbone(local.model)
    if name == "pool.json":
        modules = [{"name": f"module-{k}", "held_out_accuracy": 0.5, "task": "x"} for k in range(2)]
        (pool / name).write_text(json.dumps({"base_model": "small-bert", "modules": modules, "command": "x"}))
    path = pool / name
    for mutant in mutants(path.read_bytes(), 60):
        path.write_bytes(mutant)
        tried(lambda: load_pool(pool, backbone))


def test_inspecting_spoilt_pools(cli: Callable, local: Any, tmp_path: Path, mutants: Mutants) -> None:
    pool = Path(shutil.copytree(local.pool, tmp_path / "pool"))
    modules = [{"name": f"module-{k}", "held_out_accuracy": 0.5, "task": "x"} for k in range(2)]
    content = json.dumps({"base_model": "small-bert", "modules": modules, "command": "x"}).encode()
    for number, mutant in enumerate(mutants(content, 30)):
        (pool / "pool.json").write_bytes(mutant)
        found = cli("pool", "inspect", str(pool), *(["--json"] if number % 2 else []))
        assert found.code in (0, 1, 2) and "Traceback" not in found.err and "\x1b" not in found.out + found.err
        if found.code == 0 and number % 2:
            json.loads(found.out, parse_constant=pytest.fail)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json"])
def test_spoilt_models(local: Any, tmp_path: Path, mutants: Mutants, name: str) -> None:
    model = Path(shutil.copytree(local.model, tmp_path / "model"))
    if name.startswith("1_"):
        (model / "1_Pooling").mkdir()
        (model / name).write_text('{"word_embedding_dimension": 16, "pooling_mode_mean_tokens": true}')
    path = model / name
    for mutant in mutants(path.read_bytes(), 30):
        path.write_bytes(mutant)
        tried(lambda: load_backbone(model))


@pytest.mark.parametrize("kind", ["cells", "peripheries", "chips"])
def test_spoilt_devices(tmp_path: Path, mutants: Mutants, kind: str) -> None:
    source = sorted((HOME / kind).glob("*.yaml"))[0]
    path = tmp_path / source.name
    for mutant in mutants(source.read_bytes(), 30):
        path.write_bytes(mutant)
        tried(lambda: devices.validate(path))


STUDY = b"""device: [reram, pcm]
method: [lora:DIGITAL, probe]
task: [a.csv, b.csv]
shots: 8
seeds: 2
set: {adc.bits: 6, lora.recipe.epochs: 2}
"""


@pytest.mark.parametrize("command", ["compare", "simulate", "count"])
def test_spoilt_studies(cli: Callable, tmp_path: Path, mutants: Mutants, command: str) -> None:
    content = STUDY if command == "compare" else STUDY.replace(b"[reram, pcm]", b"reram")
    for mutant in mutants(content, 30):
        (tmp_path / "study.yaml").write_bytes(mutant)
        found = cli(command, "--config", str(tmp_path / "study.yaml"), "--model", str(tmp_path / "none"))
        assert found.code in (1, 2) and "Traceback" not in found.err
        assert sum(line.startswith("edge-adapt: error: ") for line in found.err.splitlines()) == 1


@pytest.fixture(scope="module")
def reports(local: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A report of each kind, as the command writes it."""
    from edge_adapt.cli import main

    folder = tmp_path_factory.mktemp("reports")
    words = ("--method", "probe,lora:DIGITAL", "--shots", "4", "--test-examples", "4", "--out", str(folder / "s"))
    main(local.words(*words))
    given = ("--devices", "reram", "pcm", "--model", local.model, "--tasks", local.task, "--pool", local.pool)
    words = ("--methods", "probe,lora:DIGITAL", "--shots", 4, "--seeds", 1, "--test-examples", 4, "--jobs", 1)
    main(["compare", *map(str, (*given, *words, "--out", folder / "p"))])
    main(["count", "--model", "bert-tiny", "--method", "lora:DIGITAL", "--device", "reram", "--out", str(folder / "c")])
    found = {kind: (folder / kind[0] / "report.json").read_bytes() for kind in ("count", "simulate")}
    return found | {"compare": (folder / "p" / "compare.json").read_bytes()}


def used(path: Path) -> None:
    report = load_report(path)
    assert report.verdict and repr(report) and report._repr_html_()
    if report.kind == "compare":
        return
    read = read_report(path)
    record = choose_record(read, f"{read['results'][0]['method']}")
    available(read, record)
    for total in TOTALS:
        tried(lambda name=total: explain(read, name, record))


@pytest.mark.parametrize("kind", ["simulate", "count", "compare"])
def test_spoilt_reports(reports: dict[str, bytes], tmp_path: Path, mutants: Mutants, kind: str) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(reports[kind])
    used(path)
    for number, mutant in enumerate(mutants(reports[kind], 60)):
        path.write_bytes(mutant)
        tried(lambda: used(path))
        if number < 4:
            tried(lambda: load_report(path).save(tmp_path / f"out-{number}"))
