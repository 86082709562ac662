"""The MP4s are real: probed with PyAV."""

from __future__ import annotations

import base64
import hashlib
import io
import threading
import time

import av
import pytest
from PIL import Image

from airflow_provider_modelmax.simulator.encoder_cache import MAX_PREFETCHED, EncoderCache
from airflow_provider_modelmax.simulator.render import StoppedError, render
from airflow_provider_modelmax.simulator.scene import Scene
from airflow_provider_modelmax.simulator.video_file import VideoFile, free_header, parse_range, sha256_of


@pytest.fixture(autouse=True)
def drawn_prompts(sim):
    sim.settings.plain_videos = False


def probe(content):
    with av.open(io.BytesIO(content)) as container:
        video = container.streams.video[0]
        sound = [stream.codec_context.name for stream in container.streams.audio]
        size = (video.codec_context.width, video.codec_context.height)
        return video.codec_context.name, size, sound, container.duration / 1_000_000


def first_frame(content):
    with av.open(io.BytesIO(content)) as container:
        return next(container.decode(video=0)).to_image()


@pytest.mark.parametrize(
    ("resolution", "aspect", "size"),
    [
        ("720p", "16:9", (1280, 720)),
        ("720p", "9:16", (720, 1280)),
        ("1080p", "16:9", (1920, 1080)),
        ("1080p", "9:16", (1080, 1920)),
        ("4k", "16:9", (3840, 2160)),
    ],
)
def test_a_video_has_the_asked_size(client, resolution, aspect, size):
    content = client.get(client.video_url(resolution=resolution, aspect_ratio=aspect)).content
    assert probe(content) == ("h264", size, [], pytest.approx(1, abs=0.05))


@pytest.mark.parametrize("seconds", [1, 3])
def test_a_video_lasts_as_long_as_asked_and_has_sound(client, seconds):
    content = client.get(client.video_url(duration_seconds=seconds, generate_audio=True)).content
    name, _, sound, duration = probe(content)
    assert (name, sound) == ("h264", ["aac"])
    assert duration == pytest.approx(seconds, abs=0.06)


def test_the_index_stands_before_the_media(client):
    content = client.get(client.video_url()).content
    assert content.index(b"moov") < content.index(b"mdat")


def test_samples_and_prompts_look_different(client):
    answer = client.result("a boat", sample_count=2)
    one, two = (first_frame(client.get(item["url"]).content).tobytes() for item in answer["data"])
    other = first_frame(client.get(client.video_url("another boat")).content).tobytes()
    assert len({one, two, other}) == 3


def test_the_same_video_comes_twice(client):
    url = client.video_url()
    assert client.get(url).content == client.get(url).content


def test_image_to_video_shows_the_image(client):
    buffer = io.BytesIO()
    Image.new("RGBA", (200, 100), (200, 30, 30, 255)).save(buffer, "PNG")
    image = base64.b64encode(buffer.getvalue()).decode()
    frame = first_frame(client.get(client.video_url(image=image)).content)
    red, green, blue = frame.getpixel((640, 180))
    assert red > 170
    assert max(green, blue) < 60
    assert max(frame.getpixel((640, 20))) < 40  # letterboxed


@pytest.mark.parametrize("prompt", ["日本語 のプロンプト", "word " * 500, "x" * 5000, "🚢", "a\x00b"])
def test_odd_prompts_still_make_a_video(client, prompt):
    content = client.get(client.video_url(prompt, negative_prompt="none " * 300)).content
    assert probe(content)[0] == "h264"


def test_filler_makes_big_files_that_are_still_mp4s(client, sim):
    small = len(client.get(client.video_url()).content)
    sim.settings.filler_bytes = 3_000_000
    url = client.video_url()
    content = client.get(url).content
    assert len(content) == small + 3_000_000
    assert probe(content)[0] == "h264"
    part = client.get(url, headers={"Range": f"bytes={small - 3}-{small + 20}"}).content
    assert part == content[small - 3 : small + 21]
    (video,) = list(sim.ledger.videos.values())[-1].values()
    assert (video.bytes, video.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_plain_videos_share_one_encoding(client, sim):
    sim.settings.plain_videos = True
    assert client.get(client.video_url("a")).content == client.get(client.video_url("b")).content


def test_filler_beyond_four_gigabytes_has_a_long_header(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"12345678")
    file = VideoFile(path, 8, 5 << 30, start=4, stop=40)
    assert free_header(5 << 30)[:8] == b"\x00\x00\x00\x01free"
    assert b"".join(file.chunks()) == b"5678" + free_header(5 << 30) + bytes(16)


def test_a_patch_over_the_edge_of_a_chunk_is_cut(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    file = VideoFile(path, 10, patch=(4, b"abcd"))
    assert b"".join(file.chunks()) == b"0123abcd89"
    assert b"".join(VideoFile(path, 10, patch=(4, b"abcd"), start=5, stop=7).chunks()) == b"bc"
    assert len(sha256_of(file)) == 64


def test_one_range_is_picked_and_any_other_header_ignored():
    assert parse_range("bytes=0-0", 10) == (0, 1)
    assert parse_range("bytes=-99", 10) == (0, 10)
    assert parse_range("bytes=5-99", 10) == (5, 10)
    assert parse_range("bytes=0-1,4-5", 10) is None
    assert parse_range("lines=1-2", 10) is None
    with pytest.raises(ValueError, match="satisfiable"):
        parse_range("bytes=10-", 10)


def scene(prompt, seconds=1):
    return Scene(prompt, "", (64, 64), seconds, audio=False, sample=0, label="")


def test_the_cache_makes_a_scene_once_and_stays_below_its_bound():
    cache = EncoderCache(max_bytes=20_000)
    try:
        assert cache.get(scene("a")) is cache.get(scene("a"))
        paths = [cache.get(scene(str(number))).result().file.path for number in range(12)]
        assert paths[-1].exists()
        assert not paths[0].exists()
        assert sum(path.stat().st_size for path in cache.folder.iterdir()) <= 20_000
    finally:
        cache.close()
    assert not cache.folder.exists()


def test_few_scenes_are_made_ahead():
    cache, gate = EncoderCache(), threading.Event()
    cache._executor.submit(gate.wait)
    try:
        for number in range(40):
            cache.prefetch(scene(str(number)))
        assert len(cache._videos) == MAX_PREFETCHED
    finally:
        gate.set()
        cache.close()


def test_an_encoding_is_given_up_when_the_service_ends(tmp_path):
    with pytest.raises(StoppedError):
        render(scene("a", 8), tmp_path / "x.mp4", stopped=lambda: True)
    cache = EncoderCache()
    cache.get(Scene("a", "", (3840, 2160), 8, audio=True, sample=0, label=""))
    start = time.monotonic()
    cache.close()
    assert time.monotonic() - start < 2
