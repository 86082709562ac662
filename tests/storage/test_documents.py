"""JSON documents, what else is read, and claims of which one succeeds."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_modelmax.api import DestinationError, StorageError
from airflow_provider_modelmax.storage import local as local_file
from airflow_provider_modelmax.storage.objects import (
    create_json,
    load_json,
    read_bytes,
    remove,
    save_json,
    sha256_of,
    size_of,
)
from tests.storage.common import SMALL, missing_bucket, nothing_new, object_stores
from tests.stores import Store

if TYPE_CHECKING:
    pass


def test_a_json_document_comes_back(store: Store) -> None:
    document = {"text": "a fox, 狐, 🦊, half: \ud83e", "none": None, "list": [1, 2.5, True], "nested": {"a": {}}}
    save_json(store.uri("x.json"), document)
    assert load_json(store.uri("x.json")) == document
    save_json(store.uri("x.json"), {})
    assert load_json(store.uri("x.json")) == {}


def test_a_json_document_that_cannot_be_written_leaves_the_old_one(store: Store) -> None:
    save_json(store.uri("x.mp4"), {"old": True})
    old = store.read("x.mp4")
    with pytest.raises(TypeError):
        save_json(store.uri("x.mp4"), {"value": object()})
    assert nothing_new(store, old)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"7", b"\xff", SMALL], ids=len)
def test_a_foreign_file_in_the_place_of_a_json_document_is_named(store: Store, text: bytes) -> None:
    store.put("x.json", text)
    with pytest.raises(DestinationError, match=r"x\.json is in the way: it should be a JSON object\. Move it"):
        load_json(store.uri("x.json"))


def test_an_object_is_removed_and_one_that_is_not_there_is_no_error(store: Store) -> None:
    save_json(store.uri("狐 x.json.claim-1"), {"a": 1})
    save_json(store.uri("狐 x.json.claim-10"), {"a": 1})
    for _ in range(2):
        remove(store.uri("狐 x.json.claim-1"))
    assert load_json(store.uri("狐 x.json.claim-1")) is None
    assert load_json(store.uri("狐 x.json.claim-10")) == {"a": 1}
    assert create_json(store.uri("狐 x.json.claim-1"), {})


def test_the_hash_of_an_object_is_that_of_its_bytes(store: Store) -> None:
    store.put("x.mp4", SMALL * 3)
    assert sha256_of(store.uri("x.mp4")) == hashlib.sha256(SMALL * 3).hexdigest()
    assert sha256_of(store.uri("no.mp4")) is None


def test_what_is_not_there_is_none(store: Store) -> None:
    assert size_of(store.uri("x.mp4")) is None
    assert size_of(store.uri("no/such/folder/x.mp4")) is None
    assert load_json(store.uri("x.json")) is None
    with pytest.raises(FileNotFoundError):
        read_bytes(store.uri("x.mp4"), 10)


@pytest.mark.parametrize("limit", [1, len(SMALL) - 1, len(SMALL), len(SMALL) + 1])
def test_no_more_bytes_are_read_than_wanted(store: Store, limit: int) -> None:
    store.put("x.mp4", SMALL)
    assert read_bytes(store.uri("x.mp4"), limit) == SMALL[:limit]


def test_an_empty_object_is_an_object(store: Store) -> None:
    store.put("x.mp4", b"")
    assert size_of(store.uri("x.mp4")) == 0
    assert read_bytes(store.uri("x.mp4"), 10) == b""


def test_a_folder_is_told_from_a_store_that_fails(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_bytes(str(tmp_path), 10)


def test_of_many_who_create_a_document_at_once_one_succeeds(store: Store) -> None:
    uri = store.uri("claim.json")
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda number: create_json(uri, {"who": number}), range(8)))
    assert created.count(True) == 1
    assert load_json(uri) == {"who": created.index(True)}
    assert store.leftovers() == []


def test_a_document_that_is_there_is_not_created(store: Store) -> None:
    save_json(store.uri("claim.json"), {"who": "first"})
    assert not create_json(store.uri("claim.json"), {"who": "second"})
    assert load_json(store.uri("claim.json")) == {"who": "first"}


def test_a_folder_that_knows_no_hard_links_takes_a_document_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(local_file.os, "link", refuse)
    assert [create_json(f"{tmp_path}/claim.json", {"who": number}) for number in range(2)] == [True, False]
    assert load_json(f"{tmp_path}/claim.json") == {"who": 0}
    assert [path.name for path in tmp_path.iterdir()] == ["claim.json"]


def test_a_document_that_cannot_be_written_without_hard_links_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    def full(file: Any) -> None:
        if str(file.name).endswith("claim.json"):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(local_file.os, "link", refuse)
    monkeypatch.setattr(local_file, "_flush", full)
    with pytest.raises(StorageError):
        create_json(f"{tmp_path}/claim.json", {})
    assert list(tmp_path.iterdir()) == []


@object_stores
def test_a_document_cannot_be_created_in_a_bucket_that_does_not_exist(store: Store) -> None:
    with pytest.raises(DestinationError, match="does not exist"):
        create_json(f"{missing_bucket(store)}/x.json", {})
