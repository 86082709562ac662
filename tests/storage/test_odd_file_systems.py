"""Folders on file systems that cannot do everything: found before anything is spent, or written all the same."""

from __future__ import annotations

import errno
import multiprocessing
import os
import re
import signal
import tempfile
from pathlib import Path

import pytest

from airflow_provider_modelmax.api import DestinationError, StorageError
from airflow_provider_modelmax.storage.objects import (
    check_writable,
    create_json,
    load_json,
    save_json,
    save_video,
    size_of,
    throwaway,
)
from tests.stack import refused_calls
from tests.stack.odd_mount import mounted
from tests.storage.common import SMALL

REFUSED = {
    "rename=ENOSYS": "this file system cannot rename files (?s:.)*Mountpoint for S3, write to the bucket itself, as s3://",
    "rename=EPERM": "this file system cannot rename files",
    "rename=EOPNOTSUPP": "this file system cannot rename files",
    "unlink=ENOSYS": "this file system cannot delete files",
    "unlink=EPERM": "this file system cannot delete files",
    "mkdir=ENOSYS": "this file system cannot create folders",
}
FORK = multiprocessing.get_context("fork")
ENOUGH = ["link=ENOSYS", "link=EPERM", "flock=ENOSYS", "flock=ENOLCK", "fsync=ENOSYS", "fsync=EINVAL"]


@pytest.mark.parametrize("refusal", REFUSED)
def test_a_file_system_that_lacks_what_a_write_needs_is_refused(tmp_path: Path, refusal: str) -> None:
    with mounted(tmp_path, refusal) as mount:
        for folder in (mount, mount / "new" / "folder"):
            if refusal.startswith("mkdir") and folder == mount:
                check_writable(str(folder))
                continue
            with pytest.raises(DestinationError, match=REFUSED[refusal]):
                check_writable(str(folder))
        if not refusal.startswith("unlink"):
            assert list(mount.iterdir()) == []


@pytest.mark.skipif(not refused_calls.KNOWN, reason="the numbers of system calls are known for two processors only")
@pytest.mark.parametrize("refusal", REFUSED)
def test_a_kernel_that_refuses_what_a_write_needs_is_noticed(tmp_path: Path, refusal: str) -> None:
    said = checked(tmp_path / "new", refusal)
    assert re.match(rf"DestinationError: {tmp_path}/new: {REFUSED[refusal]}", said), said


@pytest.mark.skipif(not refused_calls.KNOWN, reason="the numbers of system calls are known for two processors only")
@pytest.mark.parametrize("refusal", ENOUGH)
def test_what_a_write_can_do_without_is_no_reason_to_refuse(tmp_path: Path, refusal: str) -> None:
    assert checked(tmp_path / "new", refusal) == "writable"
    assert list(tmp_path.iterdir()) == []


def checked(folder: Path, refusal: str) -> str:
    """Check a folder in a process of its own whose kernel refuses something."""
    call, number = refusal.split("=")
    ours, theirs = FORK.Pipe()

    def check() -> None:
        refused_calls.refuse({call: getattr(errno, number)})
        try:
            check_writable(str(folder))
        except Exception as error:
            theirs.send(f"{type(error).__name__}: {error}")
        else:
            theirs.send("writable")

    process = FORK.Process(target=check)
    process.start()
    theirs.close()
    said = str(ours.recv())
    process.join()
    return said


@pytest.mark.parametrize(
    "refusals",
    [
        (),
        ("link=ENOSYS",),
        ("link=EPERM",),
        ("fsync=ENOSYS",),
        ("fsync=EINVAL",),
        ("fsync=EOPNOTSUPP",),
        ("chmod=EPERM", "chown=EPERM", "utimens=EPERM"),
        ("nlink=0",),
    ],
    ids=" ".join,
)
def test_a_file_system_that_can_do_enough_takes_videos_and_manifests(tmp_path: Path, refusals: tuple[str, ...]) -> None:
    with mounted(tmp_path, *refusals) as mount:
        check_writable(f"{mount}/v")
        assert list(mount.iterdir()) == []
        assert create_json(f"{mount}/v/x.json", {"first": True})
        assert not create_json(f"{mount}/v/x.json", {"first": False})
        save_json(f"{mount}/v/x.json", {"first": "still"})
        save_video(f"{mount}/v/x.mp4", [SMALL])
        save_video(f"{mount}/v/x.mp4", [SMALL])
        assert load_json(f"{mount}/v/x.json") == {"first": "still"}
        assert size_of(f"{mount}/v/x.mp4") == len(SMALL)
        assert sorted(path.name for path in (mount / "v").iterdir()) == ["x.json", "x.mp4"]


@pytest.mark.parametrize(
    ("refusal", "kind", "said"),
    [
        ("write=ENOSPC", StorageError, "The disk is full. Free space"),
        ("write=EDQUOT", StorageError, "The quota is used up. Free space"),
        ("fsync=EDQUOT", StorageError, "The quota is used up. Free space"),
        ("flush=ENOSPC", StorageError, "The disk is full. Free space"),
        ("write=EFBIG", StorageError, "does not allow a file of this size"),
        ("write=EIO", StorageError, "Retry; if it persists, check the store"),
        ("create=ESTALE", StorageError, "The mount is broken. Mount it again"),
        ("create=EROFS", DestinationError, "mounted read-only .*Mount it writable"),
        ("create=EINVAL", DestinationError, "cannot create a file only if it does not exist"),
        ("create=EACCES", DestinationError, "access denied"),
    ],
)
def test_a_fault_of_a_mount_is_named_for_what_it_is(
    tmp_path: Path, refusal: str, kind: type[StorageError], said: str
) -> None:
    with mounted(tmp_path, refusal) as mount:
        for call in (lambda: check_writable(str(mount)), lambda: save_video(f"{mount}/x.mp4", [SMALL])):
            with pytest.raises(StorageError, match=said) as raised:
                call()
            assert type(raised.value) is kind
        assert list(mount.iterdir()) == []


def test_a_disk_that_is_full_in_the_middle_of_a_video_leaves_nothing(tmp_path: Path) -> None:
    with mounted(tmp_path, f"room={len(SMALL) - 1}") as mount:
        check_writable(str(mount))
        with pytest.raises(StorageError, match="The disk is full"):
            save_video(f"{mount}/x.mp4", [SMALL])
        assert list(mount.iterdir()) == []


MOMENTS = {
    "fsync": (os, "fsync"),
    "link": (os, "link"),
    "rename": (os, "replace"),
    "delete": (Path, "unlink"),
    "mkdir": (Path, "rmdir"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_a_killed_check_leaves_is_removed_by_the_next(tmp_path: Path, moment: str) -> None:
    folder = tmp_path / "new" if moment == "mkdir" else tmp_path

    def check() -> None:
        setattr(*MOMENTS[moment], lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        check_writable(str(folder))

    process = FORK.Process(target=check)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    left = [path.name for path in tmp_path.iterdir()]
    assert left
    assert all(name.startswith(throwaway.PREFIX) for name in left)
    check_writable(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_what_a_check_made_that_still_runs_or_ran_elsewhere_a_moment_ago_is_left_alone(tmp_path: Path) -> None:
    mine = throwaway.new_name()
    elsewhere = re.sub("-[0-9a-f]{8}-", "-00000000-", mine, count=1)
    foreign = f"{throwaway.PREFIX}notes.txt"
    for name in (mine, elsewhere, foreign):
        (tmp_path / name).write_bytes(b".")
    check_writable(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((mine, elsewhere, foreign))
    old = (tmp_path / elsewhere).stat().st_mtime - throwaway.ABANDONED_AFTER - 60
    os.utime(tmp_path / elsewhere, (old, old))
    check_writable(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((mine, foreign))


def test_many_checks_of_one_folder_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    def check() -> None:
        for _ in range(40):
            check_writable(str(tmp_path))

    running = [FORK.Process(target=check) for _ in range(3)]
    for process in running:
        process.start()
    for process in running:
        process.join()
    assert [process.exitcode for process in running] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="files of two users need root")
@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_a_file_of_another_user_in_a_sticky_folder_is_found_by_the_check(mode: int) -> None:
    """Files can be created there, but this one cannot be replaced."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        video = Path(folder, "clip.mp4")
        video.write_bytes(b"of root")
        Path(folder).chmod(mode)
        check_writable(folder, replaced=[str(video)])
        os.seteuid(65534)
        try:
            check_writable(folder, replaced=[f"{folder}/new.mp4"])
            if mode == 0o777:
                check_writable(folder, replaced=[str(video)])
                save_json(str(video), {})
            else:
                with pytest.raises(DestinationError, match=r"access denied .* belongs to another user"):
                    check_writable(folder, replaced=[str(video)])
                with pytest.raises(DestinationError):
                    save_json(str(video), {})
        finally:
            os.seteuid(0)
