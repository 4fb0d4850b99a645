"""docs/adding-a-device.md, followed command by command in an empty folder; and `devices copy`."""

import re
import shlex
from pathlib import Path

import pytest
from edge_adapt.cli import main
from edge_adapt.devices import load_cell, load_chip

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-device.md"
SLOW = ("simulate", "compare")  # jobs of their own, tested elsewhere
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def edit(path, lines):
    """Put the entries of a YAML block where the file has them; a new one goes below its section."""
    text, section = path.read_text(), None
    for line in lines.splitlines():
        if not line.startswith(" "):
            key, _, value = line.partition(":")
            section = key
            if value:
                text, found = re.subn(rf"^{key}:.*$", line, text, flags=re.MULTILINE)
                assert found == 1
            continue
        body = re.search(rf"^{section}:\n((?:  .*\n)+)", text, re.MULTILINE)
        assert body, section
        key = line.strip().partition(":")[0]
        new, found = re.subn(rf"^  {key}:.*$", line, body[1], flags=re.MULTILINE)
        text = text[: body.start(1)] + (new if found else line + "\n" + body[1]) + text[body.end(1) :]
    path.write_text(text)


def test_the_page_can_be_followed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ran = []
    for language, block in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if language == "sh":
            for line in block.strip().splitlines():
                words = shlex.split(line)
                assert words[0] == "edge-adapt"
                if words[1] not in SLOW:
                    assert main(words[1:]) == 0, capsys.readouterr().err
                    ran.append(words[2] if words[1] == "devices" else words[1])
        elif language == "yaml":
            edit(Path("my-chip.yaml" if "cell: my-cell.yaml" in block else "my-cell.yaml"), block)
        else:
            exec(compile(block, "page", "exec"), {})
            shown = capsys.readouterr().out.splitlines()[-1]
            assert re.fullmatch(r"[\d.]+ pulses a cell, [\d.]+ % fail", shown)
    assert set(ran) >= {"list", "copy", "validate", "diff", "show", "count"}
    cell, chip = load_cell("my-cell.yaml"), load_chip("my-chip.yaml")
    assert (cell.levels, cell.g_max_siemens, cell.stuck_low_fraction) == (32, pytest.approx(62.5e-6), None)
    assert chip.cell == cell and cell.name == "my-cell"


@pytest.mark.parametrize(("name", "kind"), [("reram", "cell"), ("isaac-32nm", "periphery"), ("neurram", "chip")])
def test_a_copy_is_the_device_under_another_name(name, kind, tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    assert main(["devices", "copy", name, str(path)]) == 0
    assert f"the {kind} {name}" in " ".join(capsys.readouterr().out.split())
    assert main(["devices", "diff", name, str(path)]) == 0
    assert "no number differs" in capsys.readouterr().out


def test_folders_above_a_copy_are_made(tmp_path, capsys):
    path = tmp_path / "new" / "deep" / "mine.yaml"
    assert main(["devices", "copy", "reram", str(path)]) == 0
    assert [found.name for found in path.parent.iterdir()] == ["mine.yaml"]


def test_a_copy_never_overwrites(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text("precious")
    for arguments, says in (
        ([str(path)], "is there already"),
        ([str(tmp_path / "mine.txt")], "must be the path of a YAML file"),
        ([str(path / "mine.yaml")], "cannot be written"),
    ):
        assert main(["devices", "copy", "reram", *arguments]) == 2
        assert says in capsys.readouterr().err
    assert main(["devices", "copy", "rerum", str(tmp_path / "b.yaml")]) == 2
    assert "did you mean 'reram'" in capsys.readouterr().err
    assert path.read_text() == "precious" and list(tmp_path.iterdir()) == [path]
