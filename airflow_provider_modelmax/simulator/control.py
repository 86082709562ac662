"""The control API under `/simulator/`, and the page at `/`. For loopback clients only, without a key."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

from .faults import read_fault
from .page import page
from .service import video_answer
from .wire import Answer, Request, json_answer

if TYPE_CHECKING:
    from .service import Service

SHOWN_CALLS = 1000


async def control(service: Service, request: Request, client: tuple[str, int] | None) -> Answer:
    """Answer a control request. An error is JSON with a `problem`."""
    if client is None or not ipaddress.ip_address(client[0]).is_loopback:
        return problem(403, "the control API answers on loopback only")
    if request.path.startswith("/simulator/videos/"):
        return await preview(service, request)
    try:
        return ACTIONS.get((request.method, request.path), _one_fault)(service, request)
    except (ValueError, TypeError) as error:
        return problem(400, str(error))
    except RecursionError:
        return problem(400, "the body is nested too deeply")


def problem(status: int, message: str) -> Answer:
    """Return an error."""
    return json_answer(status, {"problem": message})


async def preview(service: Service, request: Request) -> Answer:
    """Return a video. Nothing is billed or counted."""
    *_, content_id, index = request.path.split("/")
    job = service.contents.get(unquote(content_id))
    if job is None or index not in job.indexes:
        return problem(404, "no such video")
    return video_answer(request, await service.video(job, int(index)), int(index))


def _one_fault(service: Service, request: Request) -> Answer:
    number = request.path.removeprefix("/simulator/faults/")
    if request.method != "DELETE" or number == request.path:
        return problem(404, f"there is {', '.join(f'{method} {path}' for method, path in ACTIONS)}")
    if not service.faults.remove(number):
        return problem(404, f"no fault {number[:20]} is in force: GET /simulator/faults lists them")
    return _show_faults(service, request)


def ledger_view(service: Service, max_calls: int = SHOWN_CALLS) -> dict[str, Any]:
    """Return the ledger as JSON, with the last `max_calls` calls."""
    ledger, now = service.ledger, service.clock()
    calls = ledger.calls()
    return {
        "now": now,
        "settings": service.settings.public(),
        "counts": dict(ledger.totals),
        "calls": [asdict(call) for call in calls[max(0, len(calls) - max_calls) :]],
        "bills": [asdict(bill) for bill in ledger.bills],
        "billed_video_seconds": sum(bill.video_seconds for bill in ledger.bills),
        "jobs": [ledger.job_view(job, now) for job in ledger.jobs.values()],
        "faults": [active.shown() for active in service.faults.active],
    }


def _page(service: Service, request: Request) -> Answer:
    headers = (("content-type", "text/html; charset=utf-8"), ("cache-control", "no-store"))
    host = request.headers.get("host", "127.0.0.1")
    return Answer(200, headers, page(service, f"{request.scheme}://{host}").encode())


def _show_ledger(service: Service, request: Request) -> Answer:
    max_calls = parse_qs(request.query).get("calls", [str(SHOWN_CALLS)])[-1]
    return json_answer(200, ledger_view(service, int(max_calls)))


def _show_faults(service: Service, _: Request) -> Answer:
    return json_answer(200, [active.shown() for active in service.faults.active])


def _add_faults(service: Service, request: Request) -> Answer:
    given = json.loads(request.body)
    faults = [read_fault(each) for each in (given if isinstance(given, list) else [given])]
    return json_answer(201, [service.faults.add(fault).shown() for fault in faults])


def _clear_faults(service: Service, request: Request) -> Answer:
    service.faults.remove()
    return _show_faults(service, request)


def _show_settings(service: Service, _: Request) -> Answer:
    return json_answer(200, service.settings.public())


def _change_settings(service: Service, request: Request) -> Answer:
    changes = json.loads(request.body)
    if not isinstance(changes, dict):
        raise TypeError("settings are an object")
    service.settings.update(changes)
    return _show_settings(service, request)


def _reset(service: Service, _: Request) -> Answer:
    service.reset()
    return json_answer(200, ledger_view(service))


ACTIONS: dict[tuple[str, str], Callable[[Service, Request], Answer]] = {
    ("GET", "/"): _page,
    ("GET", "/simulator/ledger"): _show_ledger,
    ("GET", "/simulator/faults"): _show_faults,
    ("POST", "/simulator/faults"): _add_faults,
    ("DELETE", "/simulator/faults"): _clear_faults,
    ("GET", "/simulator/settings"): _show_settings,
    ("POST", "/simulator/settings"): _change_settings,
    ("POST", "/simulator/reset"): _reset,
}
