"""Images as a vision Transformer takes them: resized, perhaps cropped and flipped, normalised, in batches; numpy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np

from ..errors import UsageError, require
from ..runtime.images import read_image

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CROP_FROM = 256 / 224
"""Side of the image that a random crop is taken from, over the side of the crop (Jia et al., VPT, ECCV 2022)."""


@dataclass(frozen=True)
class ImageBatch:
    """pixel_values (B, 3, side, side) float32; attention_mask (B, tokens) of ones; labels (B,) int64."""

    pixel_values: np.ndarray
    attention_mask: np.ndarray
    labels: np.ndarray

    @property
    def inputs(self) -> np.ndarray:
        return self.pixel_values

    @property
    def tokens(self) -> int:
        """Tokens of all images, [CLS] included."""
        return self.attention_mask.size


@dataclass(frozen=True)
class Images(Sequence[np.ndarray]):
    """Images that are ready for batches: `pixels` (n, stored, stored, 3) uint8, of which a square of `side` is seen.

    Where they are stored larger than `side`, training sees random crops, half of them mirrored, and evaluation the
    middle. `tokens`: of one image, [CLS] and patches. `mean` and `deviation` of each channel, of values in 0..1.
    """

    pixels: np.ndarray
    side: int
    tokens: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    deviation: tuple[float, ...] = IMAGENET_DEVIATION

    def __len__(self) -> int:
        return len(self.pixels)

    @overload
    def __getitem__(self, which: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, which: slice) -> "Images": ...
    def __getitem__(self, which: int | slice) -> "np.ndarray | Images":
        return replace(self, pixels=self.pixels[which]) if isinstance(which, slice) else self.pixels[which]

    def batches(
        self,
        labels: Sequence[int],
        batch_size: int,
        rng: np.random.Generator | None = None,
        order: np.ndarray | None = None,
    ) -> Iterator[ImageBatch]:
        """As `workloads.batches.batches`; with `rng` in random order and cropped at random, otherwise in order."""
        if order is None:
            order = np.arange(len(self)) if rng is None else rng.permutation(len(self))
        targets = np.asarray(labels, dtype=np.int64)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            seen = self._cropped(self.pixels[chosen], rng)
            mean, deviation = (np.array(numbers, np.float32) for numbers in (self.mean, self.deviation))
            values = (seen.astype(np.float32) / 255 - mean) / deviation
            mask = np.ones((len(chosen), self.tokens), dtype=np.int64)
            yield ImageBatch(np.ascontiguousarray(values.transpose(0, 3, 1, 2)), mask, targets[chosen])

    def _cropped(self, pixels: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        margin = pixels.shape[1] - self.side
        if not margin:
            return pixels
        if rng is None:
            return pixels[:, margin // 2 : margin // 2 + self.side, margin // 2 : margin // 2 + self.side]
        tops, lefts = rng.integers(0, margin + 1, (2, len(pixels)))
        mirrored = rng.random(len(pixels)) < 0.5
        seen = [
            image[top : top + self.side, left : left + self.side][:, :: -1 if flip else 1]
            for image, top, left, flip in zip(pixels, tops, lefts, mirrored, strict=True)
        ]
        return np.stack(seen)


@dataclass(frozen=True)
class ImageReader:
    """What a model does to images before it sees them: squares of `side` pixels, in patches of `patch`.

    `resample` is Pillow's number of the filter: 2 bilinear, 3 bicubic. `front`: tokens in front of the patches.
    """

    side: int
    patch: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    deviation: tuple[float, ...] = IMAGENET_DEVIATION
    resample: int = 3
    front: int = 1

    def __post_init__(self) -> None:
        """Raise `UsageError` for a size that is no whole number of patches."""
        if self.side < self.patch or self.side % self.patch:
            raise UsageError(f"image size must be a multiple of the model's patches of {self.patch}; got {self.side}")

    @property
    def tokens(self) -> int:
        """Tokens of one image: [CLS] and the like, then the patches."""
        return self.front + (self.side // self.patch) ** 2

    def stored(self, augment: bool) -> int:
        """Side of the squares that images are kept as, larger than what the model sees where they are cropped."""
        return round(self.side * CROP_FROM) if augment else self.side

    def encode(self, images: Sequence[np.ndarray | Path], augment: bool) -> Images:
        """Resize images, (height, width) or (height, width, 3) uint8, or files with them, to squares; larger ones where
        they are cropped.

        As VPT does: without augmentation straight to the input's size (its VTAB set-up); with it a seventh larger, for
        random crops and mirroring while training and the middle for evaluation (its set-up for fine-grained tasks).
        """
        require("PIL", "host")
        from PIL import Image

        stored = self.stored(augment)
        pixels = np.empty((len(images), stored, stored, 3), dtype=np.uint8)
        for row, given in enumerate(images):
            image = read_image(given) if isinstance(given, Path) else given
            resized = Image.fromarray(image).resize((stored, stored), Image.Resampling(self.resample))
            pixels[row] = np.asarray(resized.convert("RGB"))
        return Images(pixels, self.side, self.tokens, self.mean, self.deviation)
