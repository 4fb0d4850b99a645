"""`edge-adapt devices`, its plain data, and the schema table of the README."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from edge_adapt import devices
from edge_adapt.commands import devices as command
from edge_adapt.commands.parser import Parser
from edge_adapt.devices import schema
from edge_adapt.errors import UsageError

ROOT = Path(devices.__file__).parent


def run(*words):
    parser = Parser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["devices", *words])
    assert args.run is command.run
    return args.run(args)


@pytest.fixture
def printed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")

    def call(*words):
        assert run(*words) == 0
        return capsys.readouterr().out

    return call


def test_list_names_every_preset(printed):
    out = printed("list")
    for kind in schema.KINDS:
        assert all(name in out for name in devices.list_presets(kind))
    data = json.loads(printed("list", "--json"))
    assert [item["name"] for item in data["chips"]] == devices.list_presets("chip")
    assert [item["name"] for item in data["cells"]] == devices.list_presets("cell")
    assert [item["name"] for item in data["peripheries"]] == devices.list_presets("periphery")
    assert data["chips"][0].keys() >= {"name", "title", "description", "cell", "periphery", "technology", "volatile"}


@pytest.mark.parametrize("name", [*devices.list_presets("chip"), "isaac-32nm", "neurram-130nm"])
def test_show_prints_every_key_with_its_value(printed, name):
    data = json.loads(printed("show", name, "--json"))
    out = printed("show", name)
    for row in data["values"]:
        part, _, key = row["key"].partition(".")
        assert f"\n{key} " in out, f"{part}.{key}"
    assert all(item["citation"].split()[0] in out for item in data["references"])


def test_show_in_a_narrow_terminal_leaves_the_notes_out(printed, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert "reference conductance" in printed("show", "reram"), "a pipe has no width"
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes standard output for a terminal
    for width in (60, 80):
        monkeypatch.setenv("COLUMNS", str(width))
        out = re.sub(r"\x1b\[[\d;]*m", "", printed("show", "reram"))
        assert "reference conductance" not in out
        assert max(map(len, out.splitlines())) <= width
        assert "40 uS" in out and "conductance.g_max" in out and "…" not in out
    monkeypatch.setenv("COLUMNS", "160")
    assert "reference conductance" in printed("show", "reram")


def test_show_with_a_setting(printed):
    data = json.loads(printed("show", "reram", "--set", "adc.bits=6", "--set", "cell.g_max=50 uS", "--json"))
    rows = {row["key"]: row for row in data["values"]}
    assert rows["cell.conductance.g_max"] | {"note": ""} == {
        "key": "cell.conductance.g_max", "attribute": "cell.g_max_siemens", "value": 50e-6, "unit": "S",
        "text": "50 uS", "source": None, "status": "override", "note": "", "meaning": "highest programmed conductance",
        "range": None,
    }  # fmt: skip
    assert rows["periphery.adc.energy"]["value"] == pytest.approx(1.2e-12)
    with pytest.raises(UsageError, match="must be KEY=VALUE"):
        run("show", "reram", "--set", "adc.bits")
    with pytest.raises(UsageError, match="--set changes a chip, but 'isaac-32nm' is a periphery"):
        run("show", "isaac-32nm", "--set", "adc.bits=6")


def test_json_has_no_infinities(printed):
    rows = {row["key"]: row for row in json.loads(printed("show", "sram", "--json"))["values"]}
    assert rows["cell.endurance.writes"]["value"] == "unlimited"


def test_diff_lists_what_changed_was_added_and_removed(printed):
    data = json.loads(printed("diff", "reram", "pcm", "--json"))
    found = {item["key"]: item for item in data["differences"]}
    g_max = found["cell.conductance.g_max"]
    assert (g_max["change"], g_max["before"], g_max["after"], g_max["unit"]) == ("changed", 40e-6, 25e-6, "S")
    assert (g_max["before_text"], g_max["after_text"]) == ("40 uS", "25 uS")
    assert found["cell.drift.t0"]["change"] == "added"
    assert found["cell.programming.set_voltage"]["change"] == "removed"
    assert found["cell.relaxation.points[2]"]["change"] == "removed"
    assert not any(key.startswith("periphery.") for key in found)
    assert "cell.conductance.levels" not in found
    out = printed("diff", "reram", "pcm")
    assert "× 0.625" in out
    assert f"{len(found)} numbers differ" in out
    assert "no number differs" in printed("diff", "reram", "reram")
    with pytest.raises(UsageError, match="'reram' is a chip and 'isaac-32nm' a periphery"):
        run("diff", "reram", "isaac-32nm")


def test_diff_of_a_file_of_ones_own(printed, tmp_path):
    path = tmp_path / "mine.yaml"
    text = (ROOT / "peripheries" / "isaac-32nm.yaml").read_text(encoding="utf-8")
    path.write_text(text.replace('"2.12 ohm"', '"4.24 ohm"'), encoding="utf-8")
    (only,) = json.loads(printed("diff", "isaac-32nm", str(path), "--json"))["differences"]
    assert (only["key"], only["before"], only["after"]) == ("periphery.wires.resistance", 2.12, 4.24)


def test_validate_counts_and_points_at_unused_references(printed, tmp_path):
    path = tmp_path / "mine.yaml"
    text = (ROOT / "cells" / "pcm.yaml").read_text(encoding="utf-8")
    extra = "references:\n  spare:\n    citation: A paper that no number of this file comes from\n    doi: null\n"
    path.write_text(text.replace("references:\n", extra), encoding="utf-8")
    data = json.loads(printed("validate", str(path), "--json"))
    assert (data["kind"], data["name"], data["unused_references"]) == ("cell", "pcm", ["spare"])
    assert sum(data["by_status"].values()) == data["numbers"] == len(dict(schema.specs(schema.Cell)))
    assert "reference spare is not used" in printed("validate", str(path))


def test_unknown_names_are_usage_errors():
    with pytest.raises(UsageError, match="unknown device 'isaac-23nm'; did you mean 'isaac-32nm'"):
        run("show", "isaac-23nm")


def test_the_readme_table_is_the_schema():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| `") and "." in line.split("`")[1]]
    expected = []
    for part in schema.PARTS.values():
        for _, spec in schema.specs(part):
            null = "may be missing" if spec.absent else "yes" if spec.nullable else ""
            expected.append(f"| `{spec.key}` | {spec.unit or '–'} | {null} | {spec.meaning} |")
    assert lines == expected, "devices/README.md must hold exactly these rows:\n" + "\n".join(expected)


def test_import_is_light():
    code = "import sys, edge_adapt.devices; print([m for m in ('pint', 'numpy', 'rich', 'torch') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_without_pint_the_extra_is_named():
    code = (
        "import importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'pint' else find(name, *rest)\n"
        "from edge_adapt import devices, errors\n"
        "try: devices.load_chip('reram')\n"
        "except errors.MissingExtraError as e: print(e)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'edge-adapt[host]'" in out.stdout
