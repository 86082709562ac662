"""What is read of an answer that other JSON parsers take and Python's refuses, or that Airflow cannot store."""

from __future__ import annotations

import json

import pytest

from airflow_provider_modelmax.api.text import MAX_DEPTH, lines, read_json


def nested(levels: int, inner: str = "1") -> str:
    return "[" * levels + inner + "]" * levels


@pytest.mark.parametrize(
    ("number", "read"),
    [
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", 2.0**63),
        ("-9223372036854775808", -(2**63)),
        ("-9223372036854775809", -(2.0**63)),
        ("18446744073709551616", 2.0**64),
        ("1" + "0" * 300, 1e300),
        ("9" * 5000, None),
        ("-" + "9" * 5000, None),
        ("1E400", None),
        ("-1e999", None),
        ("NaN", None),
        ("Infinity", None),
        ("-Infinity", None),
        ("1e-400", 0.0),
        ("-0", 0),
        ("0." + "3" * 5000, 1 / 3),
        ("4", 4),
    ],
    ids=lambda value: str(value)[:24],
)
def test_numbers_that_cannot_be_stored_become_floats_or_none(number, read):
    (held,) = read_json(f"[{number}]".encode())
    assert (held, type(held)) == (read, type(read))


@pytest.mark.parametrize("levels", [MAX_DEPTH, 900, 5000, 100_000])
def test_nesting_without_end_costs_only_the_field_that_has_it(levels):
    held = read_json(f'{{"odd": {nested(levels - 1)}, "data": [{{"url": "/v1/a]"}}]}}'.encode())
    assert held["data"] == [{"url": "/v1/a]"}]
    assert json.dumps(held["odd"]).count("[") == MAX_DEPTH - 1


def test_brackets_within_texts_are_no_nesting():
    text = "[" * 1000 + '\\"{'
    assert read_json(f'{{"error": "{text}"}}'.encode()) == {"error": "[" * 1000 + '"{'}


@pytest.mark.parametrize("levels", [50, 100_000])
def test_nesting_that_was_cut_short_is_no_json(levels):
    assert read_json(b'{"data": ' + b"[" * levels) is None


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_each_encoding_that_json_may_have_is_read(encoding):
    assert read_json('{"prompt": "灯台 é"}'.encode(encoding)) == {"prompt": "灯台 é"}


@pytest.mark.parametrize("character", ["\n", "\t", "\x01", "\x1f", "\x7f"])
def test_control_characters_within_texts_are_taken(character):
    assert read_json(f'{{"error": "a{character}b"}}'.encode()) == {"error": f"a{character}b"}


@pytest.mark.parametrize("text", ["\\u0000", "\0", "\\ud83d", "\\udc00x"])
def test_texts_that_airflow_cannot_store_are_made_so_that_it_can(text):
    held = read_json(f'{{"a{text}": ["{text}"]}}'.encode())
    assert "?" in next(iter(held))
    json.dumps(held, ensure_ascii=False).encode()
    assert "\\u0000" not in json.dumps(held)


@pytest.mark.parametrize("after", ["\n", "\0", "garbage", "}", '{"a": 2}', "</html>", "\ufeff"])
def test_what_follows_a_whole_value_is_left_out(after):
    assert read_json(f' {{"a": 1}}{after}'.encode()) == {"a": 1}


def test_of_two_equal_names_the_last_one_counts():
    assert read_json(b'{"a": 1, "a": 2}') == {"a": 2}


@pytest.mark.parametrize("body", [b"", b" ", b"{", b'{"a": ', b"<html>", b"\xff\xfe", b"\0\0\0", b"{'a': 1}", b"[1,]"])
def test_what_is_no_json_is_none(body):
    assert read_json(body) is None


def test_a_message_is_logged_by_its_sentences_in_lines_that_the_log_page_shows_whole():
    said = lines(
        "GET /v1/queue/veo-3/requests/abc answered 404 not_found: no such job. ModelMax does not know this (any more). "
        "Check the id, and the host of the ModelMax connection, which must be the service's own, before you clear it."
    )
    assert said == [
        "GET /v1/queue/veo-3/requests/abc answered 404 not_found: no such job.",
        "ModelMax does not know this (any more).",
        "Check the id, and the host of the ModelMax connection, which must be the service's own, before you",
        "clear it.",
    ]


def test_what_is_to_be_copied_stays_on_one_line():
    job = '{"model": "veo-3.1-fast", "request_id": "' + "a/b+" * 15 + '"}'
    assert f"job={job}" in lines(f"To take it up again, copy this into a ModelMaxDownloadVideoOperator: job={job}")


@pytest.mark.parametrize("message", ["", "one", "a b. ", "s3://bucket/" + "x" * 300, "word " * 500])
def test_no_word_of_a_message_is_lost(message):
    assert " ".join(lines(message)).split() == message.split()
