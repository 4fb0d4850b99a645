"""What a person sees of a picture of Pillow's, in 8 bits: grey ("L") or colour ("RGB"). Every mode is read or refused.

Pillow's own `convert("RGB")` cuts grey of 16 bits off at 255 (all white), forgets transparency, and takes no notice of
colour profiles.
"""

import functools
import io
from typing import Any

import numpy as np

from ..errors import UsageError

GREY, COLOUR, CLEAR = "L", "RGB", "RGBA"
_WITH_ALPHA = {"LA": "LA", "PA": "PA", "RGBA": "RGBA", "La": "LA", "RGBa": "RGBA"}
"""Modes with transparency, and the same without its share multiplied into the colours."""
_READ = ("1", GREY, "P", COLOUR, "RGBX", "CMYK", "YCbCr", "LAB", "HSV", *_WITH_ALPHA)
_SPACES = {GREY: "GRAY", COLOUR: "RGB", "CMYK": "CMYK"}
"""What a profile must be of to say what the numbers of a mode mean."""
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO, _SIGNED = 0, 2
"""Tags of TIFF, and values of them. Pillow turns round what has white at 0 only up to 8 bits."""
_ROUNDING = 2
"""By so much a profile may move a colour and still be taken for sRGB, under whatever name."""


def white_level(opened: Any) -> int | None:
    """The number that is white in a file of grey with more than 8 bits, None in all other files: 65535, or what a TIFF
    of 10, 12 or 14 bits reaches. Below zero: its size is black, and white is 0.

    Raises:
        UsageError: only the file's maker knows what is white in it, or the mode is not known.
    """
    mode, tags = str(opened.mode), getattr(opened, "tag_v2", {})
    bits, form = (_first(tags.get(tag, usual)) for tag, usual in ((_BITS, 16), (_SAMPLE_FORMAT, 1)))
    if form == _SIGNED and bits <= 16:
        raise UsageError("its points are numbers with a sign, and no rule says which is white; save it without a sign")
    if mode.startswith("I;16") or (mode == "I" and opened.format in ("PNG", "PPM")):
        most = (1 << bits) - 1 if 8 < bits < 16 else 65535
        return -most if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else most
    if mode == "F" or mode.startswith("I"):
        kind = "32-bit fractions" if mode == "F" else "32-bit whole numbers"
        raise UsageError(f"its points are {kind}, and no rule says which of them is white; save it with 8 or 16 bits")
    if mode not in _READ:
        raise UsageError(f"its mode {mode!r} is not one that can be read; save it as RGB")
    return None


def _first(value: Any) -> int:
    """The value of a tag, or the first of several: of one colour."""
    return int(value[0] if isinstance(value, tuple) else value)


def visible(image: Any, white: int | None) -> Any:
    """The picture as mode "L" where it has no colours and no transparency, else "RGB", transparency laid on white.

    `white`: see `white_level`.
    """
    clear = image.info.get("transparency")
    if white is not None:
        return _eight_bits(image, white, clear)
    if image.mode in _WITH_ALPHA or clear is not None:
        whole = image.convert(_WITH_ALPHA.get(image.mode, image.mode)).convert(CLEAR)
        if whole.getchannel("A").getextrema() == (0, 0):
            raise UsageError("all of it is transparent, so nothing can be seen; save it without transparency")
        colours = _by_profile(whole.convert(COLOUR), image.info)
        colours.putalpha(whole.getchannel("A"))
        return _on_white(colours)
    if image.mode in ("1", GREY):
        return _by_profile(image.convert(GREY), image.info).convert(GREY)
    if image.mode == "CMYK":
        return _by_profile(image, image.info).convert(COLOUR)
    return _by_profile(image.convert(COLOUR), image.info)


def _eight_bits(image: Any, white: int, clear: Any) -> Any:
    """Grey of more bits in 8; `clear` is the number that is transparent, if one is."""
    from PIL import Image

    most = abs(white)
    points = np.clip(np.asarray(image).astype(np.int64), 0, most)
    light = (points * 255 + most // 2) // most
    grey = Image.fromarray((light if white > 0 else 255 - light).astype(np.uint8))
    if not isinstance(clear, int):
        return grey
    colours = grey.convert(CLEAR)
    colours.putalpha(Image.fromarray(np.where(points == clear, 0, 255).astype(np.uint8)))
    return _on_white(colours)


def _on_white(image: Any) -> Any:
    from PIL import Image

    return Image.alpha_composite(Image.new(CLEAR, image.size, "white"), image).convert(COLOUR)


def _by_profile(image: Any, info: dict[str, Any]) -> Any:
    """The picture's colours in sRGB, by the profile that its file brings; as they are where it brings none.

    Where Pillow was built without colour management, or the profile is damaged, colours stay as they are.
    """
    profile = info.get("icc_profile")
    if not isinstance(profile, bytes) or not profile:
        return image
    try:
        transform = _to_srgb(profile, image.mode)
        return image if transform is None else transform.apply(image)
    except Exception:  # the library raises all kinds for a damaged profile
        return image


@functools.lru_cache(maxsize=8)
def _to_srgb(profile: bytes, mode: str) -> Any:
    """The way from a profile's colours to sRGB; None for a profile of another kind, and for sRGB itself."""
    from PIL import Image, ImageCms

    given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if given.profile.xcolor_space.strip() != _SPACES[mode]:
        return None
    transform = ImageCms.buildTransform(given, ImageCms.createProfile("sRGB"), mode, COLOUR)
    if mode == COLOUR:
        steps = np.linspace(0, 255, 6).astype(np.uint8)
        probe = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(6, 36, 3)
        seen = np.asarray(transform.apply(Image.fromarray(probe)))
        if np.abs(seen.astype(int) - probe).max() <= _ROUNDING:
            return None
    return transform
