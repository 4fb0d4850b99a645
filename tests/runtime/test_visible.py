"""Pictures of every mode and depth against a hand-made one of the same scene in 8-bit RGB."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from edge_adapt.errors import UsageError
from edge_adapt.runtime.images import check_image, read_image
from edge_adapt.runtime.visible import visible, white_level
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, features
from PIL.TiffImagePlugin import ImageFileDirectory_v2

HEIGHT, WIDTH = 24, 36
ACROSS = np.broadcast_to(np.linspace(0, 255, WIDTH).round().astype(np.uint8), (HEIGHT, WIDTH))
DOWN = np.broadcast_to(np.linspace(0, 255, HEIGHT).round().astype(np.uint8)[:, None], (HEIGHT, WIDTH))
GREY = np.ascontiguousarray(ACROSS)
SCENE = np.stack([ACROSS, DOWN, 255 - ACROSS], axis=2)
HALF = np.where(np.arange(WIDTH) < WIDTH // 2, 255, 0).astype(np.uint8) * np.ones((HEIGHT, 1), np.uint8)
"""Opaque on the left, clear on the right."""
ON_WHITE = np.where(HALF[:, :, None] > 0, SCENE, 255)
GREY_ON_WHITE = np.where(HALF > 0, GREY, 255)


def colours(found: np.ndarray) -> np.ndarray:
    return found if found.ndim == 3 else np.repeat(found[:, :, None], 3, axis=2)


def with_alpha(mode: str) -> Image.Image:
    image = Image.fromarray(SCENE if mode == "RGBA" else GREY)
    image.putalpha(Image.fromarray(HALF))
    assert image.mode == mode
    return image


def paletted(clear: bool) -> Image.Image:
    """Grey by a palette whose colours stand in reverse order; with `clear`, the lighter half is transparent."""
    image = Image.fromarray(255 - GREY).convert("P")
    image.putdata((255 - GREY).ravel().tolist())
    image.putpalette([255 - n for n in range(256) for _ in range(3)])
    if clear:
        image.info["transparency"] = bytes(255 if 255 - n < 128 else 0 for n in range(256))
    return image


def sixteen(order: str, top: int = 65535) -> Image.Image:
    """Grey of 16 bits, `top` is white."""
    points = (GREY.astype(float) / 255 * top).round().astype(f"{order}u2")
    return Image.frombytes({"<": "I;16", ">": "I;16B"}[order], (WIDTH, HEIGHT), points.tobytes())


def png_of_16_bits(channels: int) -> bytes:
    """Written by hand: Pillow writes no colours of 16 bits."""
    kind = {2: 4, 3: 2, 4: 6}[channels]
    scene = {2: [GREY, HALF], 3: [*np.moveaxis(SCENE, 2, 0)], 4: [*np.moveaxis(SCENE, 2, 0), HALF]}[channels]
    points = np.stack(scene, axis=2).astype(">u2") * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in points)
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def saved(image: Image.Image, kind: str, **more: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


def tagged(tag: int, value: object) -> ImageFileDirectory_v2:
    tags = ImageFileDirectory_v2()
    tags[tag] = value
    return tags


BLACK_OR_WHITE = np.where(GREY < 128, 0, 255)
CASES: dict[str, tuple[Callable[[], bytes], np.ndarray, int]] = {
    "1": (lambda: saved(Image.fromarray(GREY).convert("1", dither=Image.Dither.NONE), "PNG"), BLACK_OR_WHITE, 0),
    "1-tiff": (lambda: saved(Image.fromarray(GREY).convert("1", dither=Image.Dither.NONE), "TIFF"), BLACK_OR_WHITE, 0),
    "L": (lambda: saved(Image.fromarray(GREY), "PNG"), GREY, 0),
    "L-one-clear": (lambda: saved(Image.fromarray(GREY), "PNG", transparency=0), np.where(GREY == 0, 255, GREY), 0),
    "LA": (lambda: saved(with_alpha("LA"), "PNG"), GREY_ON_WHITE, 0),
    "LA-16": (lambda: png_of_16_bits(2), GREY_ON_WHITE, 0),
    "P": (lambda: saved(paletted(False), "PNG"), GREY, 0),
    "P-gif": (lambda: saved(paletted(False), "GIF"), GREY, 0),
    "P-tiff": (lambda: saved(paletted(False), "TIFF"), GREY, 0),
    "P-clear": (lambda: saved(paletted(True), "PNG"), np.where(GREY < 128, GREY, 255), 0),
    "RGB": (lambda: saved(Image.fromarray(SCENE), "PNG"), SCENE, 0),
    "RGB-16": (lambda: png_of_16_bits(3), SCENE, 0),
    "RGBA": (lambda: saved(with_alpha("RGBA"), "PNG"), ON_WHITE, 0),
    "RGBA-16": (lambda: png_of_16_bits(4), ON_WHITE, 0),
    "RGBA-webp": (lambda: saved(with_alpha("RGBA"), "WEBP", lossless=True), ON_WHITE, 0),
    "CMYK-tiff": (lambda: saved(Image.fromarray(SCENE).convert("CMYK"), "TIFF"), SCENE, 1),
    "CMYK-jpeg": (lambda: saved(Image.fromarray(SCENE).convert("CMYK"), "JPEG", quality=100), SCENE, 8),
    "YCbCr-jpeg": (lambda: saved(Image.fromarray(SCENE).convert("YCbCr"), "JPEG", quality=100), SCENE, 60),
    "YCbCr-tiff": (lambda: saved(Image.fromarray(SCENE).convert("YCbCr"), "TIFF"), SCENE, 6),
    "I;16": (lambda: saved(sixteen("<"), "PNG"), GREY, 0),
    "I;16-tiff": (lambda: saved(sixteen("<"), "TIFF"), GREY, 0),
    "I;16B-tiff": (lambda: saved(sixteen(">"), "TIFF"), GREY, 0),
    "I;16-pgm": (lambda: saved(sixteen("<").convert("I"), "PPM"), GREY, 0),
    "pgm-of-12-bits": (
        lambda: f"P5 {WIDTH} {HEIGHT} 4095\n".encode() + (GREY / 255 * 4095).round().astype(">u2").tobytes(), GREY, 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_mode_shows_what_a_person_sees(tmp_path: Path, name: str) -> None:
    make, expected, tolerance = CASES[name]
    path = tmp_path / "scene"
    path.write_bytes(make())
    check_image(path)
    found = read_image(path)
    assert found.dtype == np.uint8
    assert np.abs(colours(found).astype(int) - colours(expected)).max() <= tolerance


@pytest.mark.parametrize("order", ["<", ">"])
def test_grey_of_16_bits_is_reduced_and_turned_as_grey_of_8(tmp_path: Path, order: str) -> None:
    """Before, such a picture came out all white."""
    wide = np.repeat(np.repeat(GREY, 30, axis=0), 30, axis=1)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(wide).save(tmp_path / "8.png", exif=exif)
    deep = Image.frombytes(
        {"<": "I;16", ">": "I;16B"}[order], wide.shape[::-1], (wide.astype(f"{order}u2") * 257).tobytes()
    )
    deep.save(tmp_path / "16.png", exif=exif)
    eight, sixteen_bits = (read_image(tmp_path / f"{bits}.png") for bits in (8, 16))
    assert eight.shape == (512, 341)
    np.testing.assert_array_equal(eight, sixteen_bits)


def test_grey_of_16_bits_with_a_clear_number(tmp_path: Path) -> None:
    deep = sixteen("<")
    deep.save(tmp_path / "clear.png", transparency=0)
    with Image.open(tmp_path / "clear.png") as opened:
        if opened.info.get("transparency") != 0:
            pytest.skip("this Pillow writes no transparency of grey of 16 bits")
    assert (colours(read_image(tmp_path / "clear.png"))[:, 0] == 255).all()


def test_a_tiff_of_12_bits(tmp_path: Path) -> None:
    """Three bytes hold two points, as the TIFF specification packs them."""
    points = (GREY.astype(float) / 255 * 4095).round().astype(int).ravel()
    packed = bytes(
        byte
        for a, b in zip(points[::2].tolist(), points[1::2].tolist(), strict=True)
        for byte in (a >> 4, (a & 15) << 4 | b >> 8, b & 255)
    )
    entries = [(256, 3, WIDTH), (257, 3, HEIGHT), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8 + 2 + 9 * 12 + 4),
               (277, 3, 1), (278, 3, HEIGHT), (279, 4, len(packed))]  # fmt: skip
    body = struct.pack("<H", len(entries))
    body += b"".join(struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value) for tag, kind, value in entries)
    (tmp_path / "12.tif").write_bytes(b"II*\0" + struct.pack("<I", 8) + body + struct.pack("<I", 0) + packed)
    assert np.abs(read_image(tmp_path / "12.tif").astype(int) - GREY).max() <= 1


@pytest.mark.skipif(not features.check("littlecms2"), reason="this Pillow has no colour management")
def test_lab_and_profiles(tmp_path: Path) -> None:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    as_lab = ImageCms.profileToProfile(Image.fromarray(SCENE), srgb, lab, outputMode="LAB")
    as_lab.save(tmp_path / "lab.tif")
    # L, a and b of 8 bits tell dark colours apart by some steps only
    assert np.abs(read_image(tmp_path / "lab.tif").astype(int) - SCENE).mean() < 2
    # sRGB's own profile changes nothing; one that exchanges red and blue does, whatever it calls itself
    own = ImageCms.ImageCmsProfile(srgb).tobytes()
    Image.fromarray(SCENE).save(tmp_path / "own.png", icc_profile=own)
    np.testing.assert_array_equal(read_image(tmp_path / "own.png"), SCENE)
    exchanged, names = bytearray(own), {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}
    for at in range(132, 132 + 12 * struct.unpack(">I", own[128:132])[0], 12):
        exchanged[at : at + 4] = names.get(own[at : at + 4], own[at : at + 4])
    Image.fromarray(SCENE[:, :, ::-1]).save(tmp_path / "exchanged.png", icc_profile=bytes(exchanged))
    assert np.abs(read_image(tmp_path / "exchanged.png").astype(int) - SCENE).mean() < 2
    Image.fromarray(SCENE).save(tmp_path / "damaged.png", icc_profile=b"no profile")
    np.testing.assert_array_equal(read_image(tmp_path / "damaged.png"), SCENE)


@pytest.mark.parametrize(
    ("image", "kind", "said"),
    [
        (Image.fromarray(GREY.astype(np.float32) / 255), "TIFF", "32-bit fractions"),
        (Image.fromarray(GREY.astype(np.int32) * 1000), "TIFF", "32-bit whole numbers"),
    ],
)
def test_numbers_whose_white_nobody_knows_are_refused(tmp_path: Path, image: Image.Image, kind: str, said: str) -> None:
    path = tmp_path / "unknown.tif"
    image.save(path, kind)
    for read in (check_image, read_image):
        with pytest.raises(UsageError, match=rf"unknown.tif: its points are {said}.*save it with 8 or 16 bits"):
            read(path)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("white", [0, 1])
def test_tiffs_whose_white_is_zero(tmp_path: Path, bits: int, white: int) -> None:
    """PhotometricInterpretation 0 says that the smallest number is white."""
    points = (GREY if white else 255 - GREY).astype("<u2")
    content = (points * 257 if bits == 16 else points.astype(np.uint8)).tobytes()
    (tmp_path / "a.tif").write_bytes(plain_tiff(content, {258: bits, 262: white}))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), GREY)


@pytest.mark.parametrize("bits", [8, 16])
def test_numbers_with_a_sign_are_refused(tmp_path: Path, bits: int) -> None:
    content = GREY.astype(f"<u{bits // 8}").tobytes()
    (tmp_path / "a.tif").write_bytes(plain_tiff(content, {258: bits, 262: 1, 339: 2}))
    with pytest.raises(UsageError, match=r"a\.tif: its points are numbers with a sign"):
        check_image(tmp_path / "a.tif")


def plain_tiff(content: bytes, tags: dict[int, int]) -> bytes:
    """One uncompressed picture of grey, written by hand."""
    entries = {256: WIDTH, 257: HEIGHT, 259: 1, 273: 0, 277: 1, 278: HEIGHT, 279: len(content)} | tags
    start = 8 + 2 + 12 * len(entries) + 4
    entries[273] = start
    listed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + listed + bytes(4) + content


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_picture_of_which_nothing_can_be_seen_is_refused(tmp_path: Path, kind: str) -> None:
    image = Image.fromarray(SCENE).convert("RGBA")
    image.putalpha(0)
    image.save(tmp_path / "clear", kind, lossless=True)
    with pytest.raises(UsageError, match="clear: all of it is transparent"):
        read_image(tmp_path / "clear")


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP"])
def test_of_several_pictures_the_first_is_seen(tmp_path: Path, kind: str) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ((0, 0, 0), (255, 255, 255))]
    frames[0].save(tmp_path / "several", kind, save_all=True, append_images=frames[1:])
    assert colours(read_image(tmp_path / "several")).max() < 8


@pytest.mark.parametrize(
    ("mode", "expected", "tolerance"),
    [("PA", GREY_ON_WHITE, 0), ("La", GREY_ON_WHITE, 0), ("RGBa", ON_WHITE, 0), ("RGBX", SCENE, 0), ("HSV", SCENE, 8)],
)
def test_modes_that_files_rarely_have(mode: str, expected: np.ndarray, tolerance: int) -> None:
    start = {"La": with_alpha("LA"), "RGBa": with_alpha("RGBA")}
    image = start.get(mode, Image.fromarray(SCENE)).convert(mode)
    if mode == "PA":
        image = Image.merge("PA", (Image.fromarray(GREY), Image.fromarray(HALF)))
        image.putpalette([n for n in range(256) for _ in range(3)])
    assert white_level(image) is None
    found = np.asarray(visible(image, None))
    assert np.abs(colours(found).astype(int) - colours(expected)).max() <= tolerance
    with pytest.raises(UsageError, match=r"mode 'odd' is not one that can be read"):
        white_level(SimpleNamespace(mode="odd"))


@settings(max_examples=80, deadline=None)
@given(
    kind=st.sampled_from(["PNG", "GIF", "TIFF", "JPEG", "BMP", "WEBP", "PPM"]),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4),
    left=st.floats(0, 1),
)
def test_any_bytes_give_a_picture_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, kind: str, changes: list[tuple[int, int]], left: float
) -> None:
    content = bytearray(saved(Image.fromarray(SCENE[:5, :7].copy()), kind))
    for place, value in changes:
        content[place % len(content)] = value
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    path.write_bytes(content[: round(left * len(content))] if left < 0.9 else content)
    with mock.patch.object(Image, "MAX_IMAGE_PIXELS", 10**6):
        for read in (check_image, read_image):
            try:
                found = read(path)
            except UsageError as error:
                said = str(error)
                assert said.startswith(str(path)) and "\n" not in said
                continue
            assert found is None or found.dtype == np.uint8


def test_cut_off_pictures_and_other_files_are_named(tmp_path: Path) -> None:
    whole = saved(Image.fromarray(SCENE), "PNG")
    for name, content in (("cut.png", whole[:-60]), ("text.png", b"no picture"), ("empty.png", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match=rf"{name} cannot be read as an image"):
            read_image(tmp_path / name)
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(UsageError, match=r"link.png cannot be read as an image: .*target is not there"):
        read_image(tmp_path / "link.png")
