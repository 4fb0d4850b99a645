"""Which files of a folder are a task's pictures: one rule, asked by the device and by the workstation."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from edge_adapt.errors import UsageError
from edge_adapt.runtime.examples import Reading
from edge_adapt.runtime.pictures import read_pictures
from edge_adapt.workloads.tasks import load_task
from PIL import Image

RNG = np.random.default_rng(5)


def picture(path: Path, kind: str = "PNG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (5, 6), dtype=np.uint8)).save(path, kind)
    return path


def sides(folder: Path, on_error: str = "fail") -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(file below the folder, label) as the device reads them, and as the workstation does."""
    name = lambda path: str(Path(path).relative_to(folder))
    device = [(name(e.text), e.label) for e in read_pictures(folder, on_error)]
    task = load_task(folder, reading=Reading(on_error=on_error))
    host = [(name(e.image), task.labels[e.label]) for e in (*task.train, *task.test)]
    return device, sorted(host)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, with everything in it that systems and people leave in such folders."""
    for name in ("cats", "dogs"):
        for n, ending in enumerate(("png", "PNG", "pgm", "tif", "TIFF", "bmp", "gif", "webp")):
            kind = {"pgm": "PPM", "tif": "TIFF", "webp": "WEBP"}.get(ending.lower(), ending.upper())
            picture(tmp_path / name / ("deep/er" if n % 3 == 2 else "") / f"{n}.{ending}", kind)
        picture(tmp_path / name / ".ipynb_checkpoints" / "0-checkpoint.png")
        (tmp_path / name / "._0.png").write_bytes(b"a resource fork")
        (tmp_path / name / ".DS_Store").write_bytes(b"litter")
        (tmp_path / name / "Thumbs.db").write_bytes(b"litter")
    picture(tmp_path / "__MACOSX" / "cats" / "0.png")
    picture(tmp_path / ".hidden" / "0.png")
    return tmp_path


def test_both_sides_read_the_same_and_no_litter(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    device, host = sides(folder)
    assert device == host
    assert len(device) == 16 and {label for _, label in device} == {"cats", "dogs"}
    assert not [name for name, _ in device if any(part.startswith((".", "__")) for part in Path(name).parts)]
    assert not caplog.records


def test_what_is_not_read_is_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    picture(folder / "stray.png")
    (folder / "cats" / "photo.heic").write_bytes(b"?")
    (folder / "cats" / "notes.txt").write_text("of cats")
    (folder / "empty").mkdir()
    caplog.set_level(logging.WARNING)
    device, host = sides(folder)
    assert device == host and len(device) == 16
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "the folder empty of" in said[0] and "holds no images and is no class" in said[0]
    assert said[1].startswith(f"3 files of {folder} were not read (") and ".heic" in said[1]
    assert tuple(said) == load_task(folder).messages[:2]


def test_links_are_followed_but_not_in_circles(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    picture(other / "birds" / "0.png")
    picture(other / "one.png")
    (folder / "birds").symlink_to(other / "birds")
    (folder / "cats" / "linked.png").symlink_to(other / "one.png")
    (folder / "dogs" / "again").symlink_to(folder / "dogs")
    device, host = sides(folder)
    assert device == host
    assert len(device) == 18 and ("birds/0.png", "birds") in device and ("cats/linked.png", "cats") in device


def test_files_that_are_no_pictures_are_named_or_left_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = picture(folder / "cats" / "whole.png").read_bytes()
    (folder / "cats" / "whole.png").unlink()
    wrong = {"broken.png": b"no picture", "empty.jpg": b"", "cut.png": whole[:-30]}
    for name, content in wrong.items():
        path = folder / "cats" / name
        path.write_bytes(content)
        if name != "cut.png":  # its head is whole: found when it is read
            for read in (read_pictures, load_task):
                with pytest.raises(UsageError, match=rf"{name} cannot be read as an image: .*--on-error skip"):
                    read(folder)
        caplog.clear()
        device, host = sides(folder, "skip")
        assert device == host and len(device) == 16
        assert "1 image left out; the first, image " in caplog.records[0].getMessage()
        path.unlink()
    (folder / "cats" / "gone.png").symlink_to(folder / "nowhere.png")
    with pytest.raises(UsageError, match=r"gone\.png .*a link whose target is not there"):
        read_pictures(folder)


def test_two_folders_of_one_class_and_folders_without_pictures(tmp_path: Path) -> None:
    for name in ("cafe\u0301", "caf\u00e9"):  # one name, written in two ways
        picture(tmp_path / "twice" / name / "0.png")
    picture(tmp_path / "flat" / "0.png")
    (tmp_path / "empty").mkdir()
    for read in (read_pictures, load_task):
        with pytest.raises(UsageError, match="are the same class 'caf\u00e9'"):
            read(tmp_path / "twice")
        with pytest.raises(UsageError, match=r"holds no images; .*1 files of .* were not read"):
            read(tmp_path / "flat")
        with pytest.raises(UsageError, match="holds no images"):
            read(tmp_path / "empty")
    with pytest.raises(UsageError, match="is no folder"):
        read_pictures(tmp_path / "none")


@pytest.mark.parametrize("name", [b"a\nb", b"a\xff", b"a\x1b[31m"])
def test_folders_whose_name_no_label_can_be(tmp_path: Path, name: bytes) -> None:
    inner = os.path.join(os.fsencode(tmp_path), name)
    try:
        os.mkdir(inner)
    except OSError:
        pytest.skip("this file system has no such names")
    picture(Path(os.fsdecode(inner)) / "0.png")
    for read in (read_pictures, load_task):
        with pytest.raises(UsageError, match=r"is no name of a class: the label .*; rename the folder"):
            read(tmp_path)


def test_to_predict_any_depth_or_a_single_file(folder: Path) -> None:
    found = read_pictures(folder, labelled=False)
    assert len(found) == 16 and {e.label for e in found} == {""}
    only = read_pictures(folder / "cats" / "0.png", labelled=False)
    assert [e.text for e in only] == [str(folder / "cats" / "0.png")]
    (folder / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no images"):
        read_pictures(folder / "empty", labelled=False)
