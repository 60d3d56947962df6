"""Source pictures from files and uploads: opened with distrust, returned as plain RGB."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageCms, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
MAX_BYTES = 64 * 2**20  # of the file
MAX_PIXELS = 64 * 10**6  # by its header; decoding takes up to 4 bytes a pixel
MAX_SIDE = 4096  # pixels; anything longer is shrunk, since no video frame that goes out is larger
MIN_SIDE = 32  # pixels; no face fits in less
BAND = 64  # rows that are converted at once
BACKGROUND = (255, 255, 255)  # what transparent pictures are laid on, as a page would

_ACCEPTED = "use a JPEG, PNG, WebP or BMP picture"
# What people send by mistake: the bytes that such files begin with, at which offset, and their name.
_STRANGERS = (
    (0, b"GIF8", "a GIF"),
    (4, b"ftyphei", "a HEIC picture"),
    (4, b"ftypmif1", "a HEIC picture"),
    (4, b"ftypavif", "an AVIF picture"),
    (4, b"ftyp", "a video"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (0, b"II*\0", "a TIFF picture"),
    (0, b"MM\0*", "a TIFF picture"),
    (0, b"%PDF", "a PDF"),
    (0, b"<svg", "an SVG drawing"),
    (0, b"<?xml", "an SVG drawing"),
)
# What Pillow's decoders raise on damaged files.
_DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError, KeyError, TypeError,
    OverflowError,
)  # fmt: skip

# Pillow refuses pictures above twice its own limit, and only warns of those between; ours lies below both.
warnings.simplefilter("error", Image.DecompressionBombWarning)


class PictureError(ValueError):
    """A picture that can't be used. Its message is one line for the person who chose it."""


def load_picture(source: Path | bytes) -> npt.NDArray[np.uint8]:
    """The picture as H×W×3 RGB: upright (EXIF), in sRGB, on white where it is transparent, shrunk to
    `MAX_SIDE`.

    source: a path, or the file's contents. Raises PictureError for anything but one whole still of a sensible
    size; only for a path does its message hold the path.
    """
    data = _contents(source) if isinstance(source, Path) else source
    if not data:
        raise PictureError(f"the picture's file is empty: {_ACCEPTED}")
    if len(data) > MAX_BYTES:
        raise PictureError(f"the picture's file is larger than {MAX_BYTES >> 20} MiB: save it smaller")
    return _array(_decoded(data))


def _contents(path: Path) -> bytes:
    if path.is_dir():
        raise PictureError(f"{path} is a folder: give the path of one picture")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise PictureError(f"the picture's file is larger than {MAX_BYTES >> 20} MiB: save it smaller")
        return path.read_bytes()
    except FileNotFoundError:
        raise PictureError(f"{path}: there is no such file") from None
    except OSError as error:
        raise PictureError(f"{path} can't be read: {error.strerror}") from None


def _decoded(data: bytes) -> Image.Image:
    """The picture of such a file, RGB or grey, not longer than `MAX_SIDE`."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureError(_too_large()) from None
    except UnidentifiedImageError:
        raise PictureError(_stranger(data)) from None
    except _DAMAGE:
        raise PictureError("the picture is damaged: choose another copy") from None
    with image:
        _check_header(image)
        try:
            image.draft(None, _fitting(image.size))  # a JPEG can be read at a half, a quarter or an eighth
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return _shrunk(_to_rgb(image))
        except _DAMAGE:
            raise PictureError("the picture is cut short or damaged: choose another copy") from None


def _check_header(image: Image.Image) -> None:
    """Refuse by what the header says, before any pixel is decoded."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise PictureError(_too_large())
    if min(width, height) < MIN_SIDE:
        raise PictureError(f"the picture is {width}×{height} pixels: use a larger one")
    # Phones write JPEGs with a second, smaller picture behind the first (MPO); those are stills.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise PictureError("the picture is animated: use a still")


def _too_large() -> str:
    return f"the picture has more than {MAX_PIXELS // 10**6} megapixels: save it smaller"


def _stranger(data: bytes) -> str:
    start = data[:64].lstrip() if data[:64].lstrip()[:1] == b"<" else data[:64]
    for offset, magic, name in _STRANGERS:
        if start[offset : offset + len(magic)] == magic:
            return f"the file is {name}: {_ACCEPTED}"
    return f"the file is not a picture: {_ACCEPTED}"


def _fitting(size: tuple[int, int]) -> tuple[int, int]:
    """The size shrunk to `MAX_SIDE`, where it is larger."""
    scale = min(1.0, MAX_SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _shrunk(image: Image.Image) -> Image.Image:
    size = _fitting(image.size)
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _to_rgb(image: Image.Image) -> Image.Image:
    """8-bit sRGB, or grey, without transparency. With as few copies as can be: each is up to 256 MB."""
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip, not scale
        return _eight_bits(image)
    if image.has_transparency_data:
        alpha = (image if image.mode in ("RGBA", "LA") else image.convert("RGBA")).getchannel("A")
        rgb = _to_srgb(image)
        rgb.paste(BACKGROUND, mask=ImageChops.invert(alpha))
        return rgb
    if image.mode == "L" and "icc_profile" not in image.info:
        return image  # three times the same: that can wait until it is small
    return _to_srgb(image)


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey, rounded to 8 bits."""
    levels = np.empty((image.height, image.width), np.uint8)
    for rows, band in _bands(image):
        levels[rows] = (np.asarray(band).clip(0, 65535).astype(np.uint32) * 255 + 32767) // 65535
    return Image.fromarray(levels)


def _array(image: Image.Image) -> npt.NDArray[np.uint8]:
    """H×W×3."""
    picture = np.empty((image.height, image.width, 3), np.uint8)
    for rows, band in _bands(image):
        picture[rows] = np.asarray(band.convert("RGB"))
    return picture


def _bands(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """The picture in bands of some rows: on the way to an array everything is copied several times over."""
    for top in range(0, image.height, BAND):
        rows = slice(top, min(top + BAND, image.height))
        yield rows, image.crop((0, rows.start, image.width, rows.stop))


def _to_srgb(image: Image.Image) -> Image.Image:
    """RGB, by the colour profile that the picture carries: phones and print shops write other spaces."""
    profile = image.info.get("icc_profile")
    if image.mode not in ("RGB", "CMYK", "L"):
        image = image.convert("RGB")
    if profile:
        try:
            source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            pass  # an unreadable profile, or one for another kind of picture, is ignored, as browsers do
        else:
            assert converted is not None  # only in-place conversion returns None
            return converted
    return image if image.mode == "RGB" else image.convert("RGB")
