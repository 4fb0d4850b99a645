"""Images to what a vision model takes: squares of its size, normalised. Pillow is needed only to read and resize."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageError
from ..inputs import open_file
from .manifest import ImageInfo
from .visible import visible, white_level

LONGEST = 512
"""Files are first reduced until no side is longer: as on the workstation, so that both see the same numbers."""

IMAGE_BYTES, PIXELS = 256 << 20, 50_000_000
"""No image file that is read here is longer, or has more points: a few bytes may stand for gigabytes of them."""

Picture = np.ndarray | Path | str
"""uint8 (height, width, 3), grey (height, width), or the name of a file that holds an image."""


class ImageEncoder:
    """Makes of images what the bundle's model sees, or crops of which it sees: uint8 (stored, stored, 3)."""

    noun = "image"

    def __init__(self, info: ImageInfo) -> None:
        self.info = info
        self.longest = info.tokens
        self._mean, self._deviation = (np.array(numbers, np.float32) for numbers in (info.mean, info.deviation))

    def encode(self, images: Sequence[Picture]) -> list[np.ndarray]:
        """Each image resized straight to the square that the bundle asks for.

        Raises:
            UsageError: a file that cannot be read, an array that is no image, or pillow is needed and not installed.
        """
        return [self._squared(image, f"image {n} of {len(images)}") for n, image in enumerate(images, start=1)]

    def feeds(self, encoded: Sequence[np.ndarray], rng: np.random.Generator | None = None) -> dict[str, np.ndarray]:
        """`pixel_values` (n, 3, side, side), float32: of the middle of larger squares, or of random crops by `rng`."""
        seen = np.stack([self._cropped(image, rng) for image in encoded])
        values = (seen.astype(np.float32) / 255 - self._mean) / self._deviation
        return {"pixel_values": np.ascontiguousarray(values.transpose(0, 3, 1, 2))}

    def draw(self, rng: np.random.Generator, count: int, _tokens: int) -> list[np.ndarray]:
        """Noise, to measure with."""
        return list(rng.integers(0, 256, (count, self.info.stored, self.info.stored, 3), dtype=np.uint8))

    def _cropped(self, image: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        side = self.info.side
        margin = len(image) - side
        if not margin:
            return image
        if rng is None:
            return image[margin // 2 : margin // 2 + side, margin // 2 : margin // 2 + side]
        top, left = rng.integers(0, margin + 1, 2)
        return image[top : top + side, left : left + side][:, :: -1 if rng.random() < 0.5 else 1]

    def _squared(self, image: Picture, which: str) -> np.ndarray:
        array = read_image(Path(image)) if isinstance(image, str | Path) else np.asarray(image)
        if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
            raise UsageError(
                f"{which} must be uint8 of shape (height, width, 3) or (height, width), or the name of a file; got "
                f"{array.dtype} of shape {array.shape}"
            )
        side = self.info.stored
        if array.shape[:2] != (side, side):
            pillow = _pillow(
                f"{which} has {array.shape[1]} x {array.shape[0]} pixels and has to become {side} x {side}"
            )
            filtered = pillow.Image.fromarray(array).resize((side, side), pillow.Image.Resampling(self.info.resample))
            return np.asarray(filtered.convert("RGB"))
        return array if array.ndim == 3 else np.repeat(array[:, :, None], 3, axis=2)


def read_image(path: Path, longest: int = LONGEST) -> np.ndarray:
    """An image file as a person sees it: uint8 (height, width) where it is grey, else (height, width, 3).

    Turned as its EXIF says, colours by its profile, transparency laid on white, the first picture where there are
    several, reduced so that no side is longer than `longest`. Raises `UsageError`: no image, one whose white nobody
    knows, no pillow.
    """
    pillow = _pillow(f"{path} is an image file")
    with _opened(pillow, path) as opened:
        image = visible(_upright(pillow, opened), white_level(opened))
        image.thumbnail((longest, longest), pillow.Image.Resampling.LANCZOS, reducing_gap=2.0)
        return np.asarray(image)


def check_image(path: Path) -> None:
    """Raise `UsageError` unless the file starts as an image does that can be read."""
    with _opened(_pillow(f"{path} is an image file"), path) as opened:
        white_level(opened)


def _upright(pillow: Any, opened: Any) -> Any:
    """The picture turned as its EXIF says, if that can be read."""
    try:
        return pillow.ImageOps.exif_transpose(opened)
    except Exception:  # the library raises all kinds for damaged EXIF; a damaged picture fails again when it is read
        opened.load()
        return opened


@contextmanager
def _opened(pillow: Any, path: Path) -> Iterator[Any]:
    """An image file while it is open. Whatever goes wrong with it is a `UsageError` that names it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of files that are odd but can be read
        try:
            with open_file(path, IMAGE_BYTES) as file, pillow.Image.open(file) as opened:
                if opened.width * opened.height > PIXELS:
                    raise UsageError(
                        f"it has {opened.width} x {opened.height} points; an image may have {PIXELS:,}: make it smaller"
                    )
                yield opened
        except (UsageError, MemoryError) as error:
            raise UsageError(f"{path}: {error or 'too large for the memory of this machine'}") from error
        except Exception as error:  # decoders of damaged files raise all kinds
            link = " (a link whose target is not there)" if path.is_symlink() and not path.exists() else ""
            said = getattr(error, "strerror", None) or str(error) or type(error).__name__
            if isinstance(error, pillow.UnidentifiedImageError):
                said = "it is of no kind that is known, or damaged"
            raise UsageError(f"{path} cannot be read as an image: {said}{link}") from error


def _pillow(why: str) -> Any:
    """Pillow, which a device may do without. Raises `UsageError` where it is not there."""
    try:
        import PIL.ImageOps
    except ImportError as error:
        raise UsageError(
            f"{why}, for which pillow is needed: pip install pillow; or give arrays of the model's size"
        ) from error
    import PIL

    return PIL
