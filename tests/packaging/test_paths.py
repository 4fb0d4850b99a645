"""Paths as users give them."""

from pathlib import Path

from edge_adapt.cli import main
from edge_adapt.paths import expanded


def test_home_folders(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/a") == tmp_path / "a"
    assert expanded(Path("b/~")) == Path("b/~")
    assert expanded("~no-such-user-here/a") == Path("~no-such-user-here/a")


def test_a_home_that_is_not_known_is_a_path_that_is_not_there(capfd) -> None:
    assert main(["devices", "validate", "~no-such-user-here/chip.yaml"]) == 2
    assert "Traceback" not in capfd.readouterr().err
