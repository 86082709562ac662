"""Chunks come whole and in order, read before they are asked for, and no further than agreed."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from airflow_provider_modelmax.storage.prefetch import read_ahead
from tests.stack.processes import wait_until

MOST = 3


def numbers(read: list[int], count: int = 100) -> Iterator[bytes]:
    for number in range(count):
        read.append(number)
        yield bytes([number])


def test_all_chunks_come_in_order():
    with read_ahead(numbers([]), MOST) as chunks:
        assert b"".join(chunks) == bytes(range(100))


def test_nothing_is_an_end_as_well():
    with read_ahead([], MOST) as chunks:
        assert list(chunks) == []


def test_it_reads_while_the_reader_is_busy_and_no_further_than_agreed():
    read: list[int] = []
    with read_ahead(numbers(read), MOST) as chunks:
        assert next(chunks) == b"\0"
        wait_until(lambda: len(read) == 1 + MOST + 1, 5, "it reads on")  # one more waits for its place
        assert not threading.Event().wait(0.1)
        assert len(read) == 1 + MOST + 1


@pytest.mark.parametrize("error", [ValueError("cut"), KeyboardInterrupt()])
def test_what_reading_raises_comes_where_the_chunk_would_have_come(error):
    def broken() -> Iterator[bytes]:
        yield b"1"
        yield b"2"
        raise error

    with read_ahead(broken(), MOST) as chunks:
        assert [next(chunks), next(chunks)] == [b"1", b"2"]
        with pytest.raises(type(error)) as caught:
            next(chunks)
    assert caught.value is error


def test_after_the_block_nothing_is_read_any_more():
    read: list[int] = []
    with read_ahead(numbers(read), MOST) as chunks:
        next(chunks)
    wait_until(lambda: not reading(), 5, "the thread ends")
    assert len(read) <= 1 + MOST + 1


def reading() -> bool:
    return any(thread.name == "modelmax-read-ahead" for thread in threading.enumerate())
