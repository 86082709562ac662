"""Makes the kernel refuse some system calls of this process, like a file system that lacks them (seccomp)."""

from __future__ import annotations

import ctypes
import platform
import struct
import sys

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_NUMBERS = {
    "x86_64": {
        "rename": (82, 264, 316),
        "link": (86, 265),
        "flock": (73,),
        "fsync": (74,),
        "unlink": (87, 263),
        "mkdir": (83, 258),
    },
    "aarch64": {
        "rename": (38, 276),
        "link": (37,),
        "flock": (32,),
        "fsync": (82,),
        "unlink": (35,),
        "mkdir": (34,),
    },
}
KNOWN = platform.machine() in _NUMBERS and sys.platform == "linux"

_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def refuse(calls: dict[str, int]) -> None:
    """Make these calls fail with these error numbers until this process ends."""
    machine = platform.machine()
    steps = [(_LOAD, 0, 0, 4), (_IF_EQUAL, 1, 0, _ARCHITECTURES[machine]), (_RETURN, 0, 0, _ALLOW), (_LOAD, 0, 0, 0)]
    for name, number in calls.items():
        for each in _NUMBERS[machine][name]:
            steps += [(_IF_EQUAL, 0, 1, each), (_RETURN, 0, 0, _ERRNO | number)]
    code = b"".join(struct.pack("HBBI", *step) for step in [*steps, (_RETURN, 0, 0, _ALLOW)])
    libc = ctypes.CDLL(None, use_errno=True)
    program = _Program(len(code) // 8, code)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program), 0, 0):  # no new privileges; a filter
        raise OSError(ctypes.get_errno(), "seccomp")
