"""A picture whose end is missing is told from a whole one, in files as Pillow writes them."""

from __future__ import annotations

import base64
import io
import random
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image

from airflow_provider_modelmax import api
from airflow_provider_modelmax.api.image import (
    MAX_IMAGE_BYTES,
    HiddenImage,
    check_encoded_image,
    decode_image,
    encode_image,
    hide_image,
    is_image,
    may_be_base64,
)
from airflow_provider_modelmax.jobs.request import image_uri
from tests import samples


def picture(mode: str = "RGB", seed: int = 1, size: tuple[int, int] = (70, 45)) -> Image.Image:
    """Make a picture that does not compress away."""
    noise = random.Random(seed).randbytes(size[0] * size[1] * 3)
    made = Image.frombytes("RGB", size, noise)
    if mode.startswith("I;16"):
        return Image.frombytes(mode, size, noise[: size[0] * size[1] * 2])
    return made.convert(mode)


def is_cut_off(data: bytes) -> bool:
    try:
        encode_image(data, "x.png")
    except api.InvalidInputError as error:
        return "is cut off" in str(error)
    return False


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
    assert base64.b64decode(encode_image(data, "x.png")) == data


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
        encode_image(whole[:1000], "s3://b/boat.jpg")
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
    assert check_encoded_image(text) == TEXT
    assert isinstance(hide_image({"image": text})["image"], HiddenImage)
    assert image_uri(text[:4000]) is None or not text.lstrip("\ufeff \n").lower().startswith("data:")


@pytest.mark.parametrize("text", ["data:image/png,raw", "data:", "data:,", "DATA:image/png;base64,", "%%%", "\ufeff"])
def test_what_holds_no_image_is_none(text):
    assert decode_image(text) is None


# What is an image, and what is Base64 of one

SAMPLE = base64.b64decode(samples.load("submit_all_parameters").request_json["parameters"]["image"])
SAMPLE_TEXT = base64.b64encode(SAMPLE).decode()
IMAGES = {
    "PNG": SAMPLE,
    "JPEG": b"\xff\xd8\xff\xe0rest",
    "GIF": b"GIF89a",
    "WebP": b"RIFF\x00\x00\x00\x00WEBPVP8 ",
    "BMP": b"BM1234",
    "TIFF, little-endian": b"II*\0",
    "TIFF, big-endian": b"MM\0*",
    "AVIF": b"\0\0\0\x1cftypavif",
    "HEIC": b"\0\0\0\x18ftypheic",
}
NO_IMAGES = {
    "nothing": b"",
    "HTML": b"<html>",
    "WAV": b"RIFF\x00\x00\x00\x00WAVEfmt ",
    "MP4": b"\0\0\0\x18ftypisom",
    "PDF": b"%PDF-1.7",
    "PNG, cut": b"\x89PN",
}


@pytest.mark.parametrize("data", IMAGES.values(), ids=IMAGES)
def test_an_image_is_known_by_its_first_bytes(data):
    assert is_image(data)


@pytest.mark.parametrize("data", NO_IMAGES.values(), ids=NO_IMAGES)
def test_another_file_is_no_image(data):
    assert not is_image(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "The image s3://b/k is empty"),
        (b"<html>", "s3://b/k is not an image"),
        (
            SAMPLE + bytes(MAX_IMAGE_BYTES),
            "image s3://b/k has 20,971,589 bytes; at most 20,971,520 are sent",
        ),
    ],
)
def test_a_file_that_is_no_image_to_send_is_refused(data, words):
    with pytest.raises(api.InvalidInputError) as caught:
        encode_image(data, "s3://b/k")
    assert words in str(caught.value)


def test_an_image_of_the_largest_size_is_sent():
    data = SAMPLE + bytes(MAX_IMAGE_BYTES - len(SAMPLE))
    assert base64.b64decode(encode_image(data, "x")) == data


@pytest.mark.parametrize(
    "text", [SAMPLE_TEXT, f"{SAMPLE_TEXT[:40]}\n{SAMPLE_TEXT[40:]}\n", f"data:image/png;base64,{SAMPLE_TEXT}"]
)
def test_base64_of_an_image_is_recognised_also_wrapped_or_as_a_data_url(text):
    assert decode_image(text) == SAMPLE


@pytest.mark.parametrize(
    "text", ["", "photo.png", "s3://b/photo.png", "aGVsbG8=", f"{SAMPLE_TEXT}!", "data:image/png,x", "ü"]
)
def test_other_text_is_no_image(text):
    assert decode_image(text) is None


@pytest.mark.parametrize("text", [SAMPLE_TEXT.rstrip("="), SAMPLE_TEXT.replace("+", "-").replace("/", "_")])
def test_base64_without_padding_or_as_in_urls_is_recognised(text):
    assert decode_image(text) == SAMPLE


@pytest.mark.parametrize(
    "image", ["/no/such.png", "s3://b/x.png", SAMPLE, Path("x.png"), 3, "", base64.b64encode(b"x" * 300).decode()]
)
def test_where_no_file_is_read_an_image_that_is_not_base64_is_refused_without_showing_it(image):
    with pytest.raises(api.InvalidInputError, match="must be Base64 of an image here") as caught:
        check_encoded_image(image)
    assert "eHh4" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "looks_so"),
    [
        ("data:image/svg+xml,<svg/>", True),
        (base64.b64encode(b"<svg/>" * 40).decode(), True),
        (base64.urlsafe_b64encode(bytes(range(250))).decode().rstrip("="), True),
        (base64.encodebytes(b"\xff\x0a" * 200).decode(), True),
        ("/data/" + "a" * 250 + ".png", False),
        ("s3://conn@bucket/" + "a" * 250, False),
        ("{{ ti.xcom_pull('draw') }}", False),
        ("pictures/lighthouse", False),
    ],
)
def test_what_looks_like_bytes_is_told_from_the_name_of_a_file(text, looks_so):
    assert may_be_base64(text) is looks_so
