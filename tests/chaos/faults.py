"""Which video gets which fault: dealt from a seed, so that a run can be repeated."""

from __future__ import annotations

import random
from typing import Any

NOBODY = "http://127.0.0.1:9/nobody"

ON_SUBMIT: list[dict[str, Any]] = [
    {"kind": "error", "status": 500, "times": 2},
    {"kind": "error", "status": 503, "retry_after": 2, "times": 1},
    {"kind": "error", "status": 401, "times": 1},
    {"kind": "error", "status": 402, "times": 1},
    {"kind": "fail_job", "times": 1},
    {"kind": "lost_answer", "times": 1},
    {"kind": "reset", "times": 1},
    {"kind": "cut_json", "times": 1},
    {"kind": "html_200", "times": 1},
    {"kind": "missing_field", "field": "request_id", "times": 1},
    {"kind": "redirect", "to": NOBODY, "times": 1},
    {"kind": "slow_answer", "seconds": 3, "times": 1},
]
ON_STATUS: list[dict[str, Any]] = [
    {"kind": "error", "status": 429, "retry_after": 4, "times": 2},
    {"kind": "error", "status": 502, "html": True, "times": 3},
    {"kind": "reset", "times": 3},
    {"kind": "lost_answer", "times": 2},
    {"kind": "unknown_status", "times": 2},
    {"kind": "missing_field", "field": "status", "times": 2},
    {"kind": "set_field", "field": "status", "value": 7, "times": 2},
    {"kind": "set_field", "field": "request_id", "value": "another", "times": 1},
    {"kind": "foreign_url", "field": "status", "to": NOBODY, "times": 1},
    {"kind": "cut_json", "times": 2},
    {"kind": "cut_chunked", "times": 1},
    {"kind": "empty_body", "times": 1},
    {"kind": "redirect", "to": NOBODY, "times": 1},
]
ON_RESULT: list[dict[str, Any]] = [
    {"kind": "error", "status": 500, "times": 1},
    {"kind": "error", "status": 503, "retry_after": 2, "times": 1},
    {"kind": "error", "status": 401, "times": 1},
    {"kind": "reset", "times": 1},
    {"kind": "missing_field", "field": "usage", "times": 1},
    {"kind": "slow_answer", "seconds": 4, "times": 1},
]
ON_RESULT_BILLED: list[dict[str, Any]] = [
    {"kind": "lost_answer", "times": 1},
    {"kind": "cut_json", "times": 1},
    {"kind": "html_200", "carry_out": True, "times": 1},
]
"""The answer to a billed call gets lost. Each of these costs one more bill, which nothing can prevent."""

ON_CONTENT: list[dict[str, Any]] = [
    {"kind": "error", "status": 500, "times": 2},
    {"kind": "error", "status": 404, "html": True, "times": 1},
    {"kind": "reset", "times": 1},
    {"kind": "redirect", "to": NOBODY, "times": 1},
    {"kind": "not_a_video", "times": 1},
    {"kind": "empty_body", "times": 1},
    {"kind": "corrupt_body", "times": 2},
    {"kind": "cut_body", "times": 5},
    {"kind": "cut_chunked", "times": 1},
    {"kind": "close_delimited_cut", "times": 1},
    {"kind": "reset_after", "times": 2},
    {"kind": "slow_body", "pause_after": 100_000, "pause_seconds": 3, "times": 1},
]
DECKS = {
    "submit": ON_SUBMIT,
    "status": ON_STATUS,
    "result": [*ON_RESULT, *ON_RESULT_BILLED],
    "content": ON_CONTENT,
}
BILLED = {each["kind"] for each in ON_RESULT_BILLED}


def deal(dag_id: str, videos: int, seed: int) -> dict[int, dict[str, Any]]:
    """Return the faults by video: two out of three videos have one, and all kinds are used in turn."""
    dice = random.Random(seed)
    decks = {call: dice.sample(faults, len(faults)) for call, faults in DECKS.items()}
    calls = [call for call, deck in decks.items() for _ in deck]
    dice.shuffle(calls)
    dealt = {}
    for place, number in enumerate(n for n in range(videos) if n % 3):
        call = calls[place % len(calls)]
        decks[call].append(fault := decks[call].pop(0))
        dealt[number] = {"call": call, "prompt": f"({dag_id}) {number:04}.", **fault}
    return dealt
