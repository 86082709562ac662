"""All cases by name. A name may not begin another's, and is the run id and the folder in the bucket too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.stack.processes import PROJECT
from tests.system.cases import AT_ONCE, Case, fault, takes

if TYPE_CHECKING:
    from pathlib import Path

PICTURE: Path = PROJECT / "example_dags" / "lighthouse.png"
MARKER = "marker-that-must-be-found-a7c1"
LONG_PROMPTS = ["(told) 灯台 at dusk, " * count for count in (20, 150, 6_000)]
ODD_FOLDER = "été a#b 100% 桜"
HALFWAY = 10_000_000
HALF_A_SMALL_ONE = 20_000


def plan(stranger: str) -> dict[str, Case]:
    """Return every case; `stranger` is a host that must not see the key. The first are started first."""
    return {
        # which are looked at while they run
        "waiting": Case(faults=(takes(4, 60),)),
        # whose end is timed
        "past_deadline": Case("until_deadline", (fault("stuck_queue", "submit"),)),
        "past_execution_timeout": Case("until_execution_timeout", (fault("stuck_progress", "submit"),)),
        "sensors_stuck": Case("sensors_of_a_stuck_job", (fault("stuck_progress", "submit"),)),
        # object storage
        "whole": Case(conf={"parameters": {"duration_seconds": 2, "sample_count": 2, "aspect_ratio": "9:16"}}),
        "large": Case("big"),
        "cut": Case("big", (fault("cut_body", "content", bytes=HALFWAY),)),
        "denied": Case(conf={"destination": "s3://store_reader@videos/denied/"}),
        "no_bucket": Case(conf={"destination": "s3://store@no-such-bucket/folder/"}),
        "no_connection": Case(conf={"destination": "s3://nobody@videos/no_connection/"}),
        # connections
        "account_one": Case(faults=(takes(1, 15),)),
        "account_two": Case("big", (takes(1, 15),)),
        "modelmax_vault": Case("modelmax_vault", (takes(1, 20),)),
        "modelmax_saved": Case("modelmax_saved", (takes(1, 20),)),
        # clears
        "cleared": Case(faults=(AT_ONCE,)),
        "cleared_object": Case(faults=(AT_ONCE,)),
        "cleared_failure": Case(faults=(fault("fail_job", "submit", times=1), AT_ONCE)),
        # what others see
        "seen": Case("seen", (takes(1, 12),), {"parameters": {"duration_seconds": 1, "image": str(PICTURE)}}),
        "told": Case(
            "told",
            (fault("set_field", "result", field="usage.video_seconds", value=10**25), AT_ONCE),
            {"prompts": LONG_PROMPTS, "destination": f"s3://store@videos/told/{ODD_FOLDER}/"},
        ),
        # retry policies
        "policed_key": Case("policed", (fault("error", "submit", status=401),)),
        "policed_job": Case("policed", (fault("fail_job", "submit"),)),
        "policed_gateway": Case("policed", (fault("error", "submit", status=502, times=5), AT_ONCE)),
        "topped_up": Case("topped_up", (fault("error", "submit", status=402, times=1), AT_ONCE)),
        # never again
        "key_wrong": Case("wrong_key"),
        "balance_empty": Case("retried", (fault("error", "submit", status=402),)),
        "job_failed": Case("retried", (fault("fail_job", "submit"),)),
        # the race
        "mapped_at_once": Case("mapped", (AT_ONCE,)),
        "mapped_deferred": Case("mapped", (takes(0, 4),)),
        # sensors
        "sensors_good": Case("sensors"),
        "sensors_failed": Case("sensors_of_a_failed_job", (fault("fail_job", "submit"),)),
        # images
        "image_path": Case(faults=(AT_ONCE,), conf={"parameters": {"duration_seconds": 1, "image": str(PICTURE)}}),
        "image_base64": Case("images", (AT_ONCE,)),
        # where the key must not go
        "foreign_status": Case("retried", (fault("foreign_url", "submit", to=stranger),)),
        "foreign_content": Case("retried", (AT_ONCE, fault("foreign_url", "result", to=stranger))),
        "redirected_submit": Case("retried", (fault("redirect", "submit", to=f"{stranger}/x", status=307),)),
        "redirected_status": Case("retried", (fault("redirect", "status", to=f"{stranger}/x", after=1, times=2),)),
        "redirected_result": Case("retried", (AT_ONCE, fault("redirect", "result", to=f"{stranger}/x"))),
        "redirected_content": Case("retried", (AT_ONCE, fault("redirect", "content", to=f"{stranger}/x"))),
        # which are killed, when all others are over
        "killed_download": Case(
            "retried", (fault("slow_body", "content", pause_after=HALF_A_SMALL_ONE, pause_seconds=60, times=1),)
        ),
        "killed_triggerer": Case("retried", (takes(1, 20),)),
        "reported_late": Case("retried", (takes(0, 14), fault("slow_answer", "result", seconds=6, times=1))),
        # which proves that a search finds something
        "marker": Case("marker", conf={"marker": MARKER}),
    }
