"""Images on the device: the same numbers as on the workstation, and a clear word where pillow is needed and absent."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from edge_adapt.errors import UsageError
from edge_adapt.runtime.images import ImageEncoder, read_image
from edge_adapt.runtime.manifest import ImageInfo
from edge_adapt.runtime.sampling import ReplayBuffer
from edge_adapt.workloads.images import ImageReader
from PIL import Image

INFO = ImageInfo(12, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), tokens=10, resample=3)
READER = ImageReader(12, 4, INFO.mean, INFO.deviation, 3)
RNG = np.random.default_rng(0)
COLOURED = RNG.integers(0, 256, (12, 12, 3), dtype=np.uint8)


@pytest.fixture
def without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "PIL"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "PIL", None)


def test_the_numbers_are_those_of_the_workstation(tmp_path: Path) -> None:
    transparent = RNG.integers(0, 256, (30, 17, 4), dtype=np.uint8)
    Image.fromarray(transparent).save(tmp_path / "transparent.png")
    turned = Image.fromarray(RNG.integers(0, 256, (700, 300, 3), dtype=np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    given = [
        COLOURED,
        RNG.integers(0, 256, (20, 31, 3), dtype=np.uint8),
        RNG.integers(0, 256, (9, 9), dtype=np.uint8),
        RNG.integers(0, 256, (12, 12), dtype=np.uint8),
        tmp_path / "transparent.png",
        tmp_path / "turned.jpg",
    ]
    (expected,) = READER.encode(given, augment=False).batches([0] * len(given), len(given))
    encoder = ImageEncoder(INFO)
    found = encoder.feeds(encoder.encode([str(item) if isinstance(item, Path) else item for item in given]))
    assert found.keys() == {"pixel_values"}
    assert found["pixel_values"].dtype == np.float32
    np.testing.assert_array_equal(found["pixel_values"], expected.pixel_values)


def test_training_sees_crops_and_everything_else_the_middle() -> None:
    pictures = [RNG.integers(0, 256, (20, 31, 3), dtype=np.uint8) for _ in range(5)]
    stored = READER.stored(augment=True)
    encoder = ImageEncoder(replace(INFO, crop_from=stored))
    squares = encoder.encode(pictures)
    assert stored == 14 and all(square.shape == (14, 14, 3) for square in squares)
    (expected,) = READER.encode(pictures, augment=True).batches([0] * 5, 5)
    np.testing.assert_array_equal(encoder.feeds(squares)["pixel_values"], expected.pixel_values)

    windows = [squares[0][top : top + 12, left : left + 12] for top in range(3) for left in range(3)]
    mirrored = [window[:, ::-1] for window in windows]
    plain = ImageEncoder(INFO)
    possible = [values.tobytes() for values in plain.feeds([*windows, *mirrored])["pixel_values"]]
    crops = encoder.feeds([squares[0]] * 400, np.random.default_rng(3))["pixel_values"]
    counts = np.bincount([possible.index(crop.tobytes()) for crop in crops], minlength=18)
    assert counts.min() > 6 and 150 < counts[9:].sum() < 250
    again = encoder.feeds([squares[0]] * 400, np.random.default_rng(3))["pixel_values"]
    np.testing.assert_array_equal(crops, again)


def test_one_value_by_hand() -> None:
    encoder = ImageEncoder(INFO)
    value = encoder.feeds(encoder.encode([COLOURED]))["pixel_values"][0, 2, 5, 7]
    assert value == pytest.approx((COLOURED[5, 7, 2] / 255 - 0.3) / 0.4, abs=1e-6)


@pytest.mark.usefixtures("without_pillow")
def test_without_pillow_arrays_of_the_right_size_are_enough() -> None:
    encoder = ImageEncoder(INFO)
    np.testing.assert_array_equal(encoder.encode([COLOURED])[0], COLOURED)
    assert (encoder.encode([COLOURED[:, :, 0]])[0] == COLOURED[:, :, :1]).all()
    with pytest.raises(UsageError, match=r"12 x 11 pixels and has to become 12 x 12.*pip install pillow"):
        encoder.encode([COLOURED[:11]])
    with pytest.raises(UsageError, match=r"cat.png is an image file.*pip install pillow"):
        encoder.encode(["cat.png"])


@pytest.mark.parametrize(
    "wrong", [COLOURED.astype(np.float32), COLOURED[None], np.zeros((12, 12, 4), np.uint8), np.zeros(5, np.uint8)]
)
def test_what_is_no_image(wrong: np.ndarray) -> None:
    with pytest.raises(UsageError, match="image 2 of 2 must be uint8"):
        ImageEncoder(INFO).encode([COLOURED, wrong])


def test_a_file_that_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"cat.png cannot be read as an image"):
        ImageEncoder(INFO).encode([tmp_path / "cat.png"])


def test_replayed_images_keep_their_pixels() -> None:
    buffer = ReplayBuffer()
    buffer.offer([COLOURED, COLOURED[::-1]], [0, 1], 5, np.random.default_rng(0))
    tensors = buffer.tensors()
    assert tensors["ids"].dtype == np.uint8
    back = ReplayBuffer.from_tensors(tensors, buffer.seen)
    np.testing.assert_array_equal(np.stack(back.encoded), np.stack([COLOURED, COLOURED[::-1]]))


def test_an_image_of_few_bytes_and_many_points(tmp_path: Path) -> None:
    Image.new("1", (9000, 9000)).save(tmp_path / "large.png")
    with pytest.raises(UsageError, match=r"large\.png: it has 9000 x 9000 points; an image may have 50,000,000"):
        read_image(tmp_path / "large.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    with pytest.raises(UsageError, match="it is a device, not a regular file"):
        read_image(tmp_path / "zero.png")
