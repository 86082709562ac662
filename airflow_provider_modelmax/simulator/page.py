"""The page at `/`: jobs, bills and faults as HTML. Everything that comes from clients is escaped."""

from __future__ import annotations

import json
import shlex
import time
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

from .settings import DEFAULT_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .jobs import Job
    from .service import Service

SHOWN_JOBS = 100
STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881}
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem}
h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .5rem}p{margin:.3rem 0}
table{border-collapse:collapse;width:100%}.scroll{overflow-x:auto}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;font-size:.85em;opacity:.7}
.numbers{display:flex;gap:1rem;flex-wrap:wrap;margin:1rem 0}
.numbers div{background:var(--soft);padding:.6rem 1rem;border-radius:.5rem}
.numbers b{display:block;font-size:1.3rem}
code,pre{font:13px/1.5 ui-monospace,monospace;word-break:break-all}
td code{white-space:nowrap}
pre{background:var(--soft);padding:.8rem;border-radius:.5rem;white-space:pre-wrap}
.state{border-radius:1rem;padding:.1rem .6rem;font-size:.8em;font-weight:600;white-space:nowrap;
color:#fff;background:#666}
.COMPLETED{background:#1a7f37}.FAILED{background:#b42318}.IN_PROGRESS{background:#1f6feb}
"""
REFRESH = """
setInterval(async () => {
  if (getSelection() + '') return;
  try {
    const page = new DOMParser().parseFromString(await (await fetch('/')).text(), 'text/html');
    document.querySelector('main').replaceWith(page.querySelector('main'));
  } catch (error) {}
}, 1500)
"""


def page(service: Service, base_url: str) -> str:
    """Return the page."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>ModelMax simulator</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        '<noscript><meta http-equiv="refresh" content="3"></noscript>'
        f"<style>{STYLE}</style><body><main>{_main(service, base_url)}</main><script>{REFRESH}</script></body></html>"
    )


def connection(base_url: str, key: str) -> dict[str, str]:
    """Return an Airflow connection to the simulator."""
    return {"conn_type": "modelmax", "host": base_url, "password": key}


def export(base_url: str, key: str) -> str:
    """Return a shell command that sets the Airflow connection. A key other than the default is not shown."""
    shown = connection(base_url, key if key == DEFAULT_KEY else "<its key>")
    return f"export AIRFLOW_CONN_MODELMAX_DEFAULT={shlex.quote(json.dumps(shown))}"


def _main(service: Service, base_url: str) -> str:
    sections = {
        "Jobs": _jobs(service),
        "Bills": _bills(service),
        "Faults in force": _faults(service),
        "Point Airflow at it": f"<pre>{escape(export(base_url, service.settings.key))}</pre>",
    }
    intro = "The ModelMax video service on this machine. Nothing here costs money. All of this as JSON:"
    return (
        f'<h1>ModelMax simulator</h1><p>{intro} <a href="/simulator/ledger">/simulator/ledger</a></p>'
        + _numbers(service)
        + "".join(f"<h2>{title}</h2>{content}" for title, content in sections.items())
    )


def _numbers(service: Service) -> str:
    ledger = service.ledger
    numbers = {
        "jobs": len(ledger.jobs),
        **{f"{name} calls": ledger.count(name) for name in ("submit", "status", "result", "content")},
        "bills": len(ledger.bills),
        "video-seconds billed": sum(bill.video_seconds for bill in ledger.bills),
        "video-seconds left": f"{service.settings.balance:g}",
    }
    tiles = (f"<div><b>{escape(str(value))}</b>{name}</div>" for name, value in numbers.items())
    return f'<div class="numbers">{"".join(tiles)}</div>'


def _jobs(service: Service) -> str:
    now = service.clock()
    newest = list(service.ledger.jobs.values())[: -SHOWN_JOBS - 1 : -1]
    rows = (_job(service, job, now) for job in newest)
    return _table(("status", "submitted", "model", "prompt", "request_id", "polls", "bills", "videos"), rows)


def _job(service: Service, job: Job, now: float) -> list[str]:
    state, count = job.status(now), service.ledger.counts
    why = f"<br>{escape(job.error)}" if state == "FAILED" and job.error else ""
    return [
        f'<span class="state {state}">{state}</span>{why}',
        _clock(job.submitted_at),
        escape(job.order.model),
        escape(job.order.prompt[:300]),
        f"<code>{escape(job.request_id)}</code>",
        str(count["status", job.request_id]),
        str(count["bill", job.request_id]),
        _links(job) if state == "COMPLETED" else "",
    ]


def _links(job: Job) -> str:
    base = f"/simulator/videos/{quote(job.content_id, safe='')}"
    return " ".join(
        f'<a target="_blank" href="{base}/{index}">video&nbsp;{index}</a>' for index in range(job.order.sample_count)
    )


def _bills(service: Service) -> str:
    rows = (
        [
            _clock(bill.time),
            f"<code>{escape(bill.request_id)}</code>",
            f"{bill.video_seconds} s",
            bill.video_resolution,
            "with sound" if bill.video_has_audio else "silent",
            "" if bill.nth == 1 else f"<b>bill no. {bill.nth} of this job</b>",
        ]
        for bill in service.ledger.bills[: -SHOWN_JOBS - 1 : -1]
    )
    return _table(("time", "request_id", "seconds", "resolution", "sound", ""), rows)


def _faults(service: Service) -> str:
    rows = (
        [
            escape(active.fault.call),
            escape(active.fault.kind),
            escape(json.dumps(dict(active.fault.params), default=str)),
            f"{active.struck} of {'∞' if active.fault.times is None else active.fault.times}",
        ]
        for active in service.faults.active
    )
    return _table(("call", "kind", "parameters", "struck"), rows)


def _table(heads: Iterable[str], rows: Iterable[list[str]]) -> str:
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    if not body:
        return "<p>none</p>"
    return f'<div class="scroll"><table><tr>{"".join(f"<th>{head}</th>" for head in heads)}</tr>{body}</table></div>'


def _clock(when: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(when))
