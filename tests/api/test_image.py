"""A picture whose end is missing is told from a whole one, in files as Pillow writes them."""

from __future__ import annotations

import base64
import io
import random
from urllib.parse import quote

import pytest
from PIL import Image

from airflow_provider_modelmax import api
from airflow_provider_modelmax.api import parameters
from airflow_provider_modelmax.api.image import is_cut_off, is_image
from airflow_provider_modelmax.jobs.request import HiddenImage, hide_image, image_uri


def picture(mode: str = "RGB", seed: int = 1, size: tuple[int, int] = (70, 45)) -> Image.Image:
    """Make a picture that does not compress away."""
    noise = random.Random(seed).randbytes(size[0] * size[1] * 3)
    made = Image.frombytes("RGB", size, noise)
    if mode.startswith("I;16"):
        return Image.frombytes(mode, size, noise[: size[0] * size[1] * 2])
    return made.convert(mode)


def saved(kind: str, mode: str = "RGB", **how: object) -> bytes:
    buffer = io.BytesIO()
    picture(mode).save(buffer, kind, **how)
    return buffer.getvalue()


def more() -> dict[str, object]:
    """Return what makes a file of several pictures; Pillow leaves its settings in those that it has written."""
    return {"save_all": True, "append_images": [picture(seed=2), picture(seed=3)]}


EXIF = Image.Exif()
EXIF[0x010F] = "A camera"
THUMBNAIL = saved("JPEG")
WHOLE = {
    **{f"PNG {mode}": saved("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")},
    "PNG with EXIF": saved("PNG", exif=EXIF, dpi=(72, 72)),
    "PNG, animated": saved("PNG", **more()),
    **{f"JPEG {mode}": saved("JPEG", mode) for mode in ("L", "RGB", "CMYK", "YCbCr")},
    "JPEG, progressive": saved("JPEG", progressive=True, quality=95),
    "JPEG with restart markers": saved("JPEG", restart_marker_blocks=1, subsampling=0),
    "JPEG with EXIF and a thumbnail": saved("JPEG", exif=EXIF.tobytes() + THUMBNAIL, comment="\xff\xd9", optimize=True),
    "JPEG of several pictures": saved("MPO", **more()),
    "GIF": saved("GIF", "P"),
    "GIF, interlaced and grey": saved("GIF", "L", interlace=True, comment="x" * 600),
    "GIF, animated": saved("GIF", **more(), duration=40, loop=0),
    "WebP": saved("WEBP"),
    "WebP, lossless": saved("WEBP", "RGBA", lossless=True, exif=EXIF),
    "WebP, animated": saved("WEBP", **more()),
    **{f"BMP {mode}": saved("BMP", mode) for mode in ("1", "L", "P", "RGB", "RGBA")},
    **{f"TIFF {mode}": saved("TIFF", mode) for mode in ("1", "L", "RGB", "I;16", "I;16B", "CMYK")},
    **{f"TIFF, {name}": saved("TIFF", compression=name) for name in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")},
    "TIFF of several pages": saved("TIFF", **more()),
    "AVIF": saved("AVIF"),
    "AVIF, animated": saved("AVIF", **more()),
    **{brand: saved("AVIF").replace(b"ftypavif", b"ftyp" + brand.encode(), 1) for brand in ("heic", "hevc", "mif2")},
}


@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE)
def test_a_whole_picture_is_sent_as_it_is(data):
    assert is_image(data)
    assert not is_cut_off(data)
    assert base64.b64decode(parameters.encode_image(data, "x.png")) == data


@pytest.mark.parametrize("tail", [b"\n", bytes(1000), b"\xff\xd8\xff\xe0 and more", b"SEFT\x01\x02\x03\x04" * 9])
@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE)
def test_bytes_after_the_end_are_no_fault(data, tail):
    assert not is_cut_off(data + tail)


FIRST_ONE_COUNTS = {"TIFF of several pages", "JPEG of several pictures"}


@pytest.mark.parametrize(
    "data", [pytest.param(each, id=name) for name, each in WHOLE.items() if name not in FIRST_ONE_COUNTS]
)
def test_a_picture_is_cut_off_wherever_it_is_cut(data):
    places = {*range(16, len(data), 61), *range(len(data) - 40, len(data))}
    needed = len(data) - (data[:4] == b"RIFF")  # the last byte of a WebP may be padding
    assert [at for at in sorted(places) if at < needed and not is_cut_off(data[:at])] == []


def test_a_picture_that_is_cut_off_is_refused_with_what_to_look_at():
    whole = saved("JPEG")
    with pytest.raises(api.InvalidInputError) as caught:
        parameters.encode_image(whole[:1000], "s3://b/boat.jpg")
    assert "The image s3://b/boat.jpg is cut off: its end is missing after 1,000 bytes." in str(caught.value)


@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE)
def test_no_damage_within_a_picture_makes_the_check_fail(data):
    dice = random.Random(7)
    for _ in range(200):
        broken = bytearray(data)
        for _ in range(dice.randrange(1, 9)):
            broken[dice.randrange(len(broken))] = dice.randrange(256)
        assert is_cut_off(bytes(broken)) in {True, False}


@pytest.mark.parametrize(
    "brand", ["heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs", "mif1", "mif2", "avis"]
)
def test_every_brand_of_heic_and_avif_is_an_image(brand):
    assert is_image(b"\0\0\0\x18ftyp" + brand.encode() + b"\0\0\0\0mif1")


def test_a_brand_of_a_camera_that_is_compatible_with_heic_is_an_image():
    assert is_image(b"\0\0\0\x18ftypMiHB\0\0\0\0mif1heic")
    assert not is_image(b"\0\0\0\x18ftypisom\0\0\0\0mp41iso2" + b"heic")


PNG = saved("PNG")
TEXT = base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"DATA:image/png;base64,{TEXT}",
        f"Data:image/png;charset=utf-8;BASE64,{TEXT}",
        f"data:image/png;base64,{quote(TEXT, safe='')}",
        f"data:image/png,{quote(PNG)}",
        f" \n{TEXT}",
        f"\ufeff{TEXT}",
        f"\ufeff data:image/png;base64,\n{TEXT[:80]}\n{TEXT[80:]}",
        quote(TEXT, safe=""),
    ],
    ids=["capitals", "mixed", "percent-encoded", "not Base64", "blanks", "BOM", "wrapped", "Base64, percent-encoded"],
)
def test_base64_is_taken_in_the_forms_that_browsers_and_editors_make(text):
    assert parameters.check_encoded_image(text) == TEXT
    assert isinstance(hide_image({"image": text})["image"], HiddenImage)
    assert image_uri(text[:4000]) is None or not text.lstrip("\ufeff \n").lower().startswith("data:")


@pytest.mark.parametrize("text", ["data:image/png,raw", "data:", "data:,", "DATA:image/png;base64,", "%%%", "\ufeff"])
def test_what_holds_no_image_is_none(text):
    assert parameters.decode_image(text) is None
