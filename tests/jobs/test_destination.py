"""Where the videos of a job go."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_modelmax.api import InvalidInputError
from airflow_provider_modelmax.jobs.destination import Destination


@pytest.mark.parametrize(
    ("destination", "before", "suffix", "exact"),
    [
        ("s3://c@b/v", "s3://c@b/v/job", ".mp4", False),
        ("s3://c@b/v/", "s3://c@b/v/job", ".mp4", False),
        ("s3://c@b", "s3://c@b/job", ".mp4", False),
        ("s3://b/", "s3://b/job", ".mp4", False),
        ("s3://c@b/x.mp4", "s3://c@b/x", ".mp4", True),
        ("s3://c@b/a.b/x.y.mp4", "s3://c@b/a.b/x.y", ".mp4", True),
        ("s3://c@b/x.MP4", "s3://c@b/x", ".MP4", True),
        ("s3://c@b/x.mp4/", "s3://c@b/x.mp4/job", ".mp4", False),
        ("  s3://c@b/v\n", "s3://c@b/v/job", ".mp4", False),
        ("/data/v", "/data/v/job", ".mp4", False),
        ("/x.mp4", "/x", ".mp4", True),
        ("/", "/job", ".mp4", False),
        ("file:/data/v", "file:/data/v/job", ".mp4", False),
        ("//data/v", "/data/v/job", ".mp4", False),
        ("~/v", f"{Path.home()}/v/job", ".mp4", False),
        (Path("/data/x.mp4"), "/data/x", ".mp4", True),
        (ObjectStoragePath("file:///data/v/"), "file:///data/v/job", ".mp4", False),
        (ObjectStoragePath("s3://c@b/v/"), "s3://c@b/v/job", ".mp4", False),
        ("file:///data/v/", "file:///data/v/job", ".mp4", False),
        ("s3://c@b/r:1+2=%20#?", "s3://c@b/r:1+2=%20#?/job", ".mp4", False),
    ],
)
def test_a_destination_is_a_folder_or_the_object_itself(
    destination: object, before: str, suffix: str, exact: bool
) -> None:
    parsed = Destination.parse(destination, "job")
    assert parsed.videos(1) == [before + suffix]
    assert parsed.videos(2) == [f"{before}-0{suffix}", f"{before}-1{suffix}"]
    assert parsed.manifest == f"{before}.modelmax.json"
    assert parsed.exact is exact


@pytest.mark.parametrize("destination", ["", "  ", "None", None, 7, ["s3://b/v"], b"s3://b/v"])
def test_a_destination_that_is_no_text_is_refused(destination: object) -> None:
    with pytest.raises(InvalidInputError, match="must be a folder such as s3://"):
        Destination.parse(destination, "job")


@pytest.mark.parametrize(
    "destination", ["v", "videos/", "./x.mp4", "../v", "x.mp4", ".", "file:v", "file:./x.mp4", "視頻/", Path("v/x.mp4")]
)
def test_a_relative_path_is_refused_with_what_to_write_instead(destination: object) -> None:
    with pytest.raises(InvalidInputError, match=r"current directory.*Write the path from the root, such as /data"):
        Destination.parse(destination, "job")


@pytest.mark.parametrize(
    "destination",
    [r"\\server\share\videos", r"C:\videos\x.mp4", "C:/videos/", "c:videos", "file:///C:/videos/", "file://C:/v/x.mp4"],
)
def test_a_path_of_windows_is_refused(destination: str) -> None:
    with pytest.raises(InvalidInputError, match=r"a path of Windows.*Mount the folder on the workers"):
        Destination.parse(destination, "job")


@pytest.mark.parametrize("destination", ["s3://b/x.mov", "/x.WEBM", "x.gif"])
def test_another_format_is_refused(destination: str) -> None:
    with pytest.raises(InvalidInputError, match=r"end it in \.mp4, or name a folder"):
        Destination.parse(destination, "job")


@pytest.mark.parametrize("destination", [".mp4", "s3://c@b/.mp4", "/v/.MP4"])
def test_an_object_whose_name_a_template_left_empty_is_refused(destination: str) -> None:
    with pytest.raises(InvalidInputError, match="a name must stand before"):
        Destination.parse(destination, "job")


@pytest.mark.parametrize("destination", ["s3://c@b/v", "s3://c@b/v/", "s3://b/x.MP4", "/data/v", "/", "/x.mp4", "~/v"])
def test_the_uri_of_a_destination_leads_to_the_same_objects(destination: str) -> None:
    parsed = Destination.parse(destination, "job")
    assert Destination.parse(parsed.uri, "job") == parsed
