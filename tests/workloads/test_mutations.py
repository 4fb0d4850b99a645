"""Spoilt files of tasks and of what models do to images: read, or one line; never a traceback. See `mutants`."""

import contextlib
import gzip
import io
import json
import resource
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edge_adapt.errors import EdgeAdaptError
from edge_adapt.runtime.examples import Reading
from edge_adapt.runtime.images import read_image
from edge_adapt.workloads.datasets import conll, idx
from edge_adapt.workloads.models import load_backbone
from edge_adapt.workloads.tasks import load_task
from PIL import Image
from transformers import ViTConfig, ViTModel

Mutants = Callable[[bytes, int], Iterator[bytes]]


def tried(work: Callable[[], object]) -> None:
    """What a reader refuses, it refuses by an error of ours, in one line."""
    said = ""
    try:
        work()
    except EdgeAdaptError as error:
        said = str(error)
    assert "\n" not in said


CONLL = "".join(
    f"# sentence {n}\nAnn\tNNP\tB-PER\nmet\tVBD\tO\nBert\tNNP\tB-PER\nin\tIN\tO\nNew\tNNP\tB-LOC\nYork\tNNP\tI-LOC\n\n"
    for n in range(6)
).encode()


def test_spoilt_conll_files(tmp_path: Path, mutants: Mutants) -> None:
    path = tmp_path / "a.conll"
    for number, mutant in enumerate(mutants(CONLL, 200)):
        path.write_bytes(mutant)
        tried(lambda n=number: conll.read(path, Reading(on_error=("fail", "skip")[n % 2])))


PICTURE = np.random.default_rng(0).integers(0, 256, (24, 17, 4), dtype=np.uint8)
KINDS = {"png": "RGBA", "jpg": "RGB", "gif": "P", "bmp": "RGB", "tiff": "RGBA", "webp": "RGBA", "ppm": "RGB"}


@pytest.mark.parametrize("kind", KINDS)
def test_spoilt_images(tmp_path: Path, mutants: Mutants, kind: str) -> None:
    content = io.BytesIO()
    Image.fromarray(PICTURE).convert(KINDS[kind]).save(content, Image.registered_extensions()[f".{kind}"])
    path = tmp_path / f"a.{kind}"
    for mutant in mutants(content.getvalue(), 60):
        path.write_bytes(mutant)
        tried(lambda: read_image(path))


@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_spoilt_folders_of_images(tmp_path: Path, mutants: Mutants, on_error: str) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(6):
            moved = np.roll(PICTURE, number + 10 * (label == "cat"), 0)
            Image.fromarray(moved).save(tmp_path / label / f"{number}.png")
    path = tmp_path / "cat" / "0.png"
    for mutant in mutants(path.read_bytes(), 20):
        path.write_bytes(mutant)
        tried(lambda: load_task(tmp_path, 4, Reading(on_error=on_error)))


def idx_file(shape: tuple[int, ...], body: bytes) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + body


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Twelve pictures in the four files, one of them packed."""
    for part in idx.PARTS:
        images = np.random.default_rng(len(part)).integers(0, 256, (6, 3, 2), dtype=np.uint8).tobytes()
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx_file((6, 3, 2), images))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx_file((6,), bytes([0, 1] * 3)))
    packed = tmp_path / "train-images-idx3-ubyte"
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(packed.read_bytes(), mtime=0))
    packed.unlink()
    return tmp_path


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_spoilt_idx_files(digits: Path, mutants: Mutants, name: str) -> None:
    assert len(list(idx.read(digits))) == 12
    path = digits / name
    for mutant in mutants(path.read_bytes(), 60):
        path.write_bytes(mutant)
        tried(lambda: load_task(digits, 4))


ZEROS = gzip.compress(bytes(64 << 20), mtime=0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(idx_file((6, 3, 2), b""), mtime=0) + ZEROS * 60, "is not an idx file"),
        (gzip.compress(idx_file((2**32 - 1, 2**32 - 1, 2**32 - 1), b""), mtime=0) + ZEROS, "at most 1,000,000 images"),
        (gzip.compress(idx_file((2**31, 1, 1), b""), mtime=0) + ZEROS, "at most 1,000,000 images"),
        (gzip.compress(idx_file((6, 0, 2), b""), mtime=0), "is not an idx file"),
        (gzip.compress(b"", mtime=0) * 100_000, "is not an idx file"),
    ],
)  # fmt: skip
def test_bombs_of_idx_files(digits: Path, content: bytes, words: str) -> None:
    """Four gigabytes in four megabytes are not unpacked: what is read is what the head says."""
    (digits / "train-images-idx3-ubyte.gz").write_bytes(content)
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(EdgeAdaptError, match=words):
        load_task(digits, 4)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000
    assert time.process_time() - begun < 10


SETTINGS: dict[str, Any] = {
    "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], "do_normalize": True, "do_rescale": True,
    "rescale_factor": 1 / 255, "resample": 3, "size": {"height": 8, "width": 8}, "do_resize": True,
}  # fmt: skip


def test_spoilt_settings_of_images(tmp_path: Path, mutants: Mutants) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    ViTModel(ViTConfig(**sizes, image_size=8, patch_size=4), add_pooling_layer=False).save_pretrained(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(SETTINGS))
    pictures = [PICTURE[:8, :8, :3], PICTURE[:, :, :3]]
    for mutant in mutants(json.dumps(SETTINGS).encode(), 60):
        path.write_bytes(mutant)
        with contextlib.suppress(EdgeAdaptError):
            reader: Any = load_backbone(tmp_path).preprocessor
            (batch,) = reader.encode(pictures, augment=False).batches([0, 0], 2)
            assert np.isfinite(batch.pixel_values).all(), mutant
