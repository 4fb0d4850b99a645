"""Images: readers of idx files and folders, fixed splits without doubles, crops and mirror images by seed."""

import gzip
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.runtime.examples import Reading
from edge_adapt.runtime.images import read_image
from edge_adapt.workloads.datasets import idx
from edge_adapt.workloads.fetch import is_cached
from edge_adapt.workloads.image_tasks import IMAGE_TASKS
from edge_adapt.workloads.images import IMAGENET_DEVIATION, IMAGENET_MEAN, ImageReader, Images
from edge_adapt.workloads.tasks import load_task
from edge_adapt.workloads.texts import overlap
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image


def _write_idx(folder: Path, part: str, images: np.ndarray, labels: list[int], packed: bool) -> None:
    n, height, width = images.shape
    for name, head, body in (
        (f"{part}-images-idx3-ubyte", struct.pack(">HBBIII", 0, 8, 3, n, height, width), images.tobytes()),
        (f"{part}-labels-idx1-ubyte", struct.pack(">HBBI", 0, 8, 1, len(labels)), bytes(labels)),
    ):
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(head + body))
        else:
            (folder / name).write_bytes(head + body)


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (30, 5, 7), dtype=np.uint8)
    images[29] = images[0]  # the same picture with the same label
    images[28] = images[1]  # and one with another label
    labels = [i % 2 for i in range(28)] + [0, 0]
    _write_idx(tmp_path, "train", images[:20], labels[:20], packed=False)
    _write_idx(tmp_path, "t10k", images[20:], labels[20:], packed=True)
    return tmp_path


def test_idx_files_are_a_task(idx_folder: Path) -> None:
    found = list(idx.read(idx_folder, ["even", "odd"]))
    assert len(found) == 30
    assert found[1][1] == "odd" and found[1][0].shape == (5, 7)
    task = load_task(idx_folder, test_examples=8)
    assert (task.kind, task.labels, task.augment, len(task.test)) == ("image", ("0", "1"), False, 8)
    assert len(task.train) + len(task.test) == 27
    assert task.messages == (
        "2 repeated images were left out",
        "1 image that occurs with two labels was left out",
    )
    assert not overlap((example.text for example in task.train), (example.text for example in task.test))
    for example in (*task.train, *task.test):
        same = [label for image, label in found if np.array_equal(image, example.image)]
        assert set(same) == {("even", "odd")[example.label]}
    again = load_task(idx_folder, test_examples=8)
    assert [e.text for e in again.train] == [e.text for e in task.train]
    assert Counter(e.label for e in task.few_shot(8, 3).train) == {0: 3, 1: 3}


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: (f / "train-labels-idx1-ubyte").unlink(), r"has no train-labels-idx1-ubyte \(or "),
        (lambda f: (f / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + bytes(12) + b"x"), "is cut off"),
        (lambda f: (f / "t10k-images-idx3-ubyte.gz").write_bytes(b"no gzip"), "cannot be read"),
        (lambda f: _write_idx(f, "train", np.zeros((3, 2, 2), np.uint8), [1], False), "3 images and 1 labels"),
    ],
)
def test_broken_idx_files(idx_folder: Path, harm, message: str) -> None:
    harm(idx_folder)
    with pytest.raises(EdgeAdaptError, match=message):
        load_task(idx_folder)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=30).flatmap(lambda b: st.sampled_from([b, b"\0\0\x08\x03" + b, b"\x1f\x8b\x08" + b])))
def test_any_bytes_are_idx_or_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzzed-idx"
    folder.mkdir(exist_ok=True)
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte"):
        (folder / name).write_bytes(content)
    with pytest.raises(EdgeAdaptError):
        load_task(folder)


@pytest.fixture
def picture_folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    for name in ("cats", "dogs"):
        (tmp_path / name / "deeper").mkdir(parents=True)
        for i in range(5):
            where = tmp_path / name / ("deeper" if i % 2 else "") / f"{i}.{'png' if i else 'JPG'}"
            Image.fromarray(rng.integers(0, 256, (9 + i, 12, 3), dtype=np.uint8)).save(where, "png")
        (tmp_path / name / ".thumbnail.png").write_bytes(b"hidden")
        (tmp_path / name / "notes.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_a_folder_for_each_class_is_a_task(picture_folder: Path) -> None:
    task = load_task(picture_folder, test_examples=4)
    assert (task.labels, len(task.train), len(task.test)) == (("cats", "dogs"), 6, 4)
    for example in (*task.train, *task.test):
        assert isinstance(example.image, Path)
        assert task.labels[example.label] in example.image.parts
    broken = picture_folder / "cats" / "broken.png"
    broken.write_bytes(b"no image at all")
    with pytest.raises(UsageError, match=r"broken\.png cannot be read as an image: it is of no kind .*--on-error skip"):
        load_task(picture_folder, test_examples=4)
    assert len(load_task(picture_folder, 4, Reading(on_error="skip")).train) == 6
    cut = picture_folder / "dogs" / "cut.png"
    cut.write_bytes((picture_folder / "dogs" / "0.JPG").read_bytes()[:-40])
    broken.unlink()
    task = load_task(picture_folder, test_examples=4)
    pictures = [e.image for e in (*task.train, *task.test)]
    with pytest.raises(UsageError, match=r"cut\.png cannot be read as an image"):
        ImageReader(14, 14).encode(pictures, augment=False)
    assert len(load_task(picture_folder, 4, Reading(on_error="skip")).train) == 6


def test_folders_without_a_task(picture_folder: Path) -> None:
    with pytest.raises(UsageError, match="holds no images; put those of each class into a folder"):
        load_task(picture_folder / "empty")
    (picture_folder / "one").mkdir()
    (picture_folder / "cats").rename(picture_folder / "one" / "cats")
    with pytest.raises(UsageError, match="at least two classes"):
        load_task(picture_folder / "one")


def test_transparency_turning_and_size_of_files(tmp_path: Path) -> None:
    clear = np.zeros((4, 6, 4), np.uint8)
    clear[:, :3] = (200, 0, 0, 255)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    found = read_image(tmp_path / "clear.png")
    assert (found[:, :3] == (200, 0, 0)).all() and (found[:, 3:] == 255).all()
    turned = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "turned.png"), np.rot90(np.asarray(turned), -1))
    Image.new("RGB", (900, 300)).save(tmp_path / "large.png")
    assert read_image(tmp_path / "large.png", longest=90).shape == (30, 90, 3)


def test_images_are_resized_and_normalised() -> None:
    reader = ImageReader(28, 14)
    grey = np.full((7, 7), 51, np.uint8)
    (batch,) = reader.encode([grey, grey], augment=False).batches([1, 0], 8)
    assert batch.inputs.shape == (2, 3, 28, 28) and batch.inputs.dtype == np.float32
    assert batch.attention_mask.shape == (2, 5) and batch.tokens == 10
    for channel, (mean, deviation) in enumerate(zip(IMAGENET_MEAN, IMAGENET_DEVIATION, strict=True)):
        assert batch.inputs[:, channel] == pytest.approx((0.2 - mean) / deviation, abs=1e-6)
    assert batch.labels.tolist() == [1, 0]


def test_training_sees_crops_and_mirror_images_and_evaluation_the_middle() -> None:
    """Each picture holds its own number and where a pixel lies, so that every crop can be told from what it shows."""
    side, stored, n = 14, 16, 40
    rows, columns = np.mgrid[:stored, :stored]
    pixels = np.stack([np.broadcast_to(i, rows.shape) for i in range(n)]).astype(np.uint8)
    pixels = np.stack([pixels, np.broadcast_to(rows, pixels.shape), np.broadcast_to(columns, pixels.shape)], -1)
    images = Images(pixels.astype(np.uint8), side, 2, mean=(0, 0, 0), deviation=(1 / 255,) * 3)
    (middle,) = images.batches(list(range(n)), n)
    assert np.array_equal(middle.inputs[3, 1:].round(), [rows[1:15, 1:15], columns[1:15, 1:15]])
    seen = Counter()
    for batch in images.batches(list(range(n)), 16, np.random.default_rng(0)):
        for values, label in zip(batch.inputs.round().astype(int), batch.labels, strict=True):
            assert (values[0] == label).all(), "a picture has lost its label"
            top, left, right = values[1, 0, 0], values[2, 0, 0], values[2, 0, -1]
            assert abs(right - left) == side - 1
            seen[top, min(left, right), right < left] += 1
    assert sum(seen.values()) == n
    assert {top for top, _, _ in seen} == {left for _, left, _ in seen} == {0, 1, 2}
    assert 8 < sum(count for (_, _, mirrored), count in seen.items() if mirrored) < 32
    again = next(images.batches(list(range(n)), 16, np.random.default_rng(0)))
    other = next(images.batches(list(range(n)), 16, np.random.default_rng(0)))
    assert np.array_equal(again.inputs, other.inputs)
    assert len(images[:7]) == 7 and images[:7].side == side


@pytest.mark.download
@pytest.mark.parametrize(
    ("name", "classes", "images"),
    [
        ("fashion-mnist", 10, 70_000),
        ("mnist", 10, 5000),
        ("elpv-mono", 2, 901),
        ("elpv-poly", 2, 1322),
        ("stamps", 6, 403),
    ],
)
def test_shipped_image_tasks(name: str, classes: int, images: int) -> None:
    entry = IMAGE_TASKS[name]
    if entry.package and not is_cached(entry.package):
        pytest.skip(f"{entry.package} is not in the cache")
    if not entry.package and not Path(entry.folder).is_dir():
        pytest.skip(f"the Debian package {entry.debian} is not installed")
    task = load_task(name, test_examples=100)
    assert (len(task.labels), len(task.train) + len(task.test)) == (classes, images)
    examples = task.few_shot(4 * classes, 0).train
    encoded = ImageReader(28, 14).encode([e.image for e in examples if e.image is not None], task.augment)
    assert len(encoded) == len(examples)
    assert encoded.pixels.shape[1] == (32 if task.augment else 28)
    assert encoded.pixels.std() > 20, "the pictures are not blank"
