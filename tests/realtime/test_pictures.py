import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from realtime.pictures import MAX_SIDE, PictureError, load_picture


def gradient(width: int = 96, height: int = 64) -> np.ndarray:
    """Red grows to the right, green downwards: every corner is told from the others."""
    ys, xs = np.mgrid[0:height, 0:width]
    channels = xs * 255 // (width - 1), ys * 255 // (height - 1), np.full_like(xs, 60)
    return np.stack(channels, -1).astype(np.uint8)


def saved(image: Image.Image, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, **options)
    return out.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size, and holds next to no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(b"\0" * 10)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def close_to(picture: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    return picture.shape == expected.shape and np.abs(picture.astype(int) - expected).mean() <= tolerance


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"format": "PNG"}, 0),
        ({"format": "BMP"}, 0),
        ({"format": "WEBP", "lossless": True}, 0),
        ({"format": "JPEG", "quality": 95}, 3),
    ],
)
def test_the_accepted_formats_load_as_rgb(options, tolerance):
    picture = load_picture(saved(Image.fromarray(gradient()), **options))
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous
    assert close_to(picture, gradient(), tolerance)


def test_a_path_loads_like_its_contents(tmp_path: Path):
    path = tmp_path / "a.png"
    path.write_bytes(saved(Image.fromarray(gradient()), format="PNG"))
    assert np.array_equal(load_picture(path), gradient())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(orientation):
    upright = gradient()
    turns = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1]}
    sideways = upright.transpose(1, 0, 2)
    turns |= {5: sideways, 6: sideways[::-1], 7: sideways[::-1, ::-1], 8: sideways[:, ::-1]}
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = Image.fromarray(np.ascontiguousarray(turns[orientation]))
    data = saved(turned, format="JPEG", quality=95, exif=exif)
    assert close_to(load_picture(data), upright, 3)


def test_transparency_is_laid_on_white():
    rgba = np.dstack([gradient(), np.full((64, 96), 255, np.uint8)])
    rgba[:20, :, 3] = 0
    rgba[20:40, :, 3] = 128
    picture = load_picture(saved(Image.fromarray(rgba), format="PNG")).astype(int)
    assert (picture[:20] == 255).all()
    assert np.abs(picture[20:40] - (gradient()[20:40] * (128 / 255) + 127)).max() <= 2
    assert np.array_equal(picture[40:], gradient()[40:])


def test_a_transparent_palette_picture_is_laid_on_white():
    image = Image.fromarray(gradient()).quantize(64)
    index = np.asarray(image)[0, 0]
    picture = load_picture(saved(image, format="PNG", transparency=int(index)))
    assert (picture[0, 0] == 255).all()
    assert close_to(picture[40:], gradient()[40:], 20)


@pytest.mark.parametrize("mode", ["L", "P", "LA", "1"])
def test_other_modes_become_rgb(mode):
    image = Image.fromarray(gradient()).convert(mode)
    expected = np.asarray(image.convert("RGB"))
    assert close_to(load_picture(saved(image, format="PNG")), expected, 1)


def test_a_cmyk_jpeg_keeps_its_colours():
    image = Image.fromarray(gradient()).convert("CMYK")
    assert close_to(load_picture(saved(image, format="JPEG", quality=95)), gradient(), 6)


def test_sixteen_bit_grey_is_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 96 * 64).reshape(64, 96).astype(np.uint16)
    picture = load_picture(saved(Image.fromarray(ramp), format="PNG"))
    assert np.abs(picture[..., 0] - ramp / 257).max() <= 0.51
    assert (picture[..., 0] == picture[..., 2]).all()


def test_every_level_of_sixteen_bit_grey_is_rounded_to_the_nearest():
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    picture = load_picture(saved(Image.fromarray(levels), format="PNG"))
    assert np.array_equal(picture[..., 1], np.floor(levels / 257 + 0.5))


def test_sixteen_bit_colour_is_scaled_not_clipped():
    import cv2

    done, data = cv2.imencode(".png", gradient()[..., ::-1].astype(np.uint16) * 257)
    assert done
    assert close_to(load_picture(data.tobytes()), gradient(), 0.5)


def test_a_colour_profile_is_applied():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"----").replace(b"bXYZ", b"rXYZ").replace(b"----", b"bXYZ")
    plain = load_picture(saved(Image.fromarray(gradient()), format="PNG", icc_profile=srgb))
    blue = load_picture(saved(Image.fromarray(gradient()), format="PNG", icc_profile=swapped))
    assert close_to(plain, gradient(), 1)
    assert close_to(blue, gradient()[..., ::-1], 1)


def test_an_unreadable_colour_profile_is_ignored():
    picture = load_picture(saved(Image.fromarray(gradient()), format="PNG", icc_profile=b"nonsense" * 30))
    assert np.array_equal(picture, gradient())


def test_a_phones_jpeg_with_a_second_picture_behind_it_is_a_still():
    first, second = Image.fromarray(gradient()), Image.new("RGB", (40, 40))
    data = saved(first, format="MPO", save_all=True, append_images=[second], quality=95)
    assert close_to(load_picture(data), gradient(), 3)


def test_a_picture_longer_than_any_canvas_is_shrunk():
    picture = load_picture(saved(Image.new("RGB", (6000, 1500), (9, 90, 200)), format="PNG"))
    assert picture.shape == (1024, MAX_SIDE, 3)
    assert (picture == (9, 90, 200)).all()


def test_a_long_jpeg_that_is_read_at_a_part_of_its_size_is_the_same_picture():
    long = np.asarray(Image.fromarray(gradient()).resize((16384, 640), Image.Resampling.BICUBIC))
    picture = load_picture(saved(Image.fromarray(long), format="JPEG", quality=95))
    shrunk = Image.fromarray(long).resize((MAX_SIDE, 160), Image.Resampling.LANCZOS)
    assert close_to(picture, np.asarray(shrunk), 2)


READ_AND_TELL = """
import sys
from pathlib import Path
from realtime.pictures import load_picture

def most():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

load_picture(Path(sys.argv[1]))
before = most()
load_picture(Path(sys.argv[2]))
print(most() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the most memory ever used")
@pytest.mark.parametrize(("dtype", "channels"), [(np.uint16, 1), (np.uint8, 1), (np.uint8, 3)])
def test_a_large_picture_takes_a_few_bytes_a_pixel(tmp_path: Path, dtype, channels):
    """Pillow itself keeps 2, 1 and 4; decoded, shrunk and handed on it may not be many times that."""
    shape = (4000, 8000, channels) if channels > 1 else (4000, 8000)
    Image.fromarray(np.zeros(shape, dtype)).save(tmp_path / "large.png")
    Image.fromarray(np.zeros((64, 64), dtype)).save(tmp_path / "small.png")
    command = [sys.executable, "-c", READ_AND_TELL, tmp_path / "small.png", tmp_path / "large.png"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert int(told.stdout) < 8 * 4000 * 8000 + 32 * 2**20


def animated(format: str) -> bytes:
    frames = [Image.fromarray(np.roll(gradient(), 9 * i, 1)) for i in range(3)]
    return saved(frames[0], format=format, save_all=True, append_images=frames[1:])


STILL = saved(Image.fromarray(gradient()), format="JPEG")
REFUSED = {
    "empty": (b"", "is empty"),
    "text": (b"hello, this is no picture" * 9, "is not a picture: use a JPEG, PNG, WebP or BMP"),
    "html": (b"<!doctype html><p>404</p>" * 9, "is not a picture"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", "is an SVG drawing"),
    "heic": (b"\0\0\0\x18ftypheic" + bytes(90), "is a HEIC picture: use a JPEG"),
    "video": (b"\0\0\0\x18ftypisom" + bytes(90), "is a video"),
    "gif": (animated("GIF"), "is a GIF: use a JPEG"),
    "animated png": (animated("PNG"), "is animated: use a still"),
    "animated webp": (animated("WEBP"), "is animated: use a still"),
    "truncated jpeg": (STILL[: len(STILL) * 2 // 3], "cut short or damaged"),
    "truncated in the header": (STILL[:40], "picture"),
    "200 megapixels": (png_header(20_000, 10_000), "more than 64 megapixels: save it smaller"),
    "100 megapixels": (png_header(10_000, 10_000), "more than 64 megapixels"),
    "65 megapixels": (png_header(10_000, 6_500), "more than 64 megapixels"),
    "tiny": (saved(Image.new("RGB", (3, 2)), format="PNG"), "is 3×2 pixels: use a larger one"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line_that_says_what_to_do(name):
    data, message = REFUSED[name]
    with pytest.raises(PictureError, match=message) as caught:
        load_picture(data)
    assert "\n" not in str(caught.value)


def test_a_huge_picture_is_refused_before_any_pixel_is_decoded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(PictureError, match="megapixels"):
        load_picture(png_header(20_000, 10_000))


def test_an_enormous_file_is_refused_without_reading_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "long.png"
    with path.open("wb") as file:
        file.truncate(200 * 2**20)  # sparse
    monkeypatch.setattr(Path, "read_bytes", lambda *_: pytest.fail("read"))
    with pytest.raises(PictureError, match="larger than 64 MiB"):
        load_picture(path)


def test_a_missing_file_and_a_folder(tmp_path: Path):
    with pytest.raises(PictureError, match="there is no such file"):
        load_picture(tmp_path / "none.png")
    with pytest.raises(PictureError, match="is a folder: give the path of one picture"):
        load_picture(tmp_path)


SEEDS = [STILL, *(saved(Image.fromarray(gradient()), format=f) for f in ("PNG", "WEBP", "BMP"))]


@settings(max_examples=150)
@given(
    st.sampled_from(SEEDS),
    st.floats(0, 1),
    st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4)), max_size=4),
)
def test_damage_of_any_kind_is_a_picture_error_or_a_picture(data, keep, patches):
    damaged = bytearray(data[: int(len(data) * keep)])
    for place, patch in patches:
        start = int(place * len(damaged))
        damaged[start : start + len(patch)] = patch
    try:
        picture = load_picture(bytes(damaged))
    except PictureError:
        return
    assert picture.ndim == 3
    assert picture.dtype == np.uint8
