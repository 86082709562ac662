"""Put the results of `make bench` into docs/performance.md, as tables and plots: `python -m tests.benchmarks.page`."""

from __future__ import annotations

import json
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from tests.benchmarks.__main__ import BENCHMARKS
from tests.benchmarks.report import Figure, shown, spread
from tests.stack.demo import write
from tests.stack.processes import PROJECT

RESULTS = PROJECT / ".bench" / "results.json"
PAGE = PROJECT / "docs" / "performance.md"
IMAGES = PROJECT / "docs" / "images"
COLORS = {"modelmax": "#6b3fd4", "ours": "#6b3fd4", "dbt": "#d2691e", "idle": "#888888", "http": "#2e8b57"}
NAMES = {"modelmax": "ours", "ours": "ours", "dbt": "dbt Cloud's", "idle": "idle", "http": "HTTP sensor's"}

Reports = Mapping[str, Mapping[str, Any]]


def main() -> None:
    """Replace the text between the markers, and redraw the plots."""
    reports = json.loads(RESULTS.read_text())["reports"]
    text = PAGE.read_text()
    plt.rcParams["svg.hashsalt"] = "modelmax"  # the same figures give the same file
    for name in BENCHMARKS:
        if name in reports:
            block = f"<!-- {name} -->\n{table(reports[name])}\n<!-- end -->"
            text = re.sub(rf"<!-- {name} -->.*?<!-- end -->", lambda _, new=block: new, text, flags=re.DOTALL)
    PAGE.write_text(text)
    for name, draw in PLOTS.items():
        if _draw(IMAGES / f"{name}.svg", draw, reports):
            write(f"docs/images/{name}.svg\n")


def table(report: Mapping[str, Any]) -> str:
    """Return the figures of one benchmark in Markdown; missed targets are bold."""
    lines = [f"{report['about'][0].upper()}{report['about'][1:]}.", ""]
    lines += ["| | measured | spread | target | details |", "|---|---|---|---|---|"]
    for each in map(Figure.from_dict, report["figures"]):
        value = shown(each) if each.holds else f"**{shown(each)}: missed**"
        cells = [cell.replace("|", r"\|") for cell in (each.what, value, spread(each), each.target, each.detail)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _draw(file: Path, draw: Callable[[Axes, Reports], None], reports: Reports) -> bool:
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    try:
        draw(axes, reports)
    except KeyError:  # the benchmark was not run
        return False
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)
    return True


def _waits(axes: Axes, reports: Reports) -> None:
    points: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for each in reports["triggerer"]["series"]["found"]:
        points[each["kind"]][each["count"]].append(each["core"])
    for kind, by_count in points.items():
        counts = sorted(by_count)
        values = [statistics.median(by_count[count]) for count in counts]
        axes.plot(counts, values, "o-", color=COLORS[kind], label=NAMES[kind])
    axes.set(xlabel="triggers that poll every 5 s", ylabel="cores, both triggerer processes", xlim=0, ylim=0)


def _calls(axes: Axes, reports: Reports) -> None:
    series = reports["schedule"]["series"]
    schedules = [name for name in next(iter(series.values())) if "proportion" not in name]
    colors = ["#bbbbbb", "#b9a5ec", "#6b3fd4"]
    for place, (schedule, color) in enumerate(zip(schedules, colors, strict=True)):
        calls = [each[schedule]["calls"] for each in series.values()]
        bars = axes.bar(
            [at + 0.27 * (place - 1) for at in range(len(series))], calls, 0.25, color=color, label=schedule
        )
        axes.bar_label(bars, [f"{each[schedule]['delay']:.1f} s late" for each in series.values()], fontsize=7)
    axes.set(xticks=range(len(series)), xticklabels=list(series), ylabel="status calls per job", ylim=(0, 36))


def _memory(axes: Axes, reports: Reports) -> None:
    by_size = reports["store"]["series"]["memory by size"]
    axes.plot([float(size) for size in by_size], list(by_size.values()), "o-", color=COLORS["ours"], label="one video")
    axes.set(xlabel="size of the video, MB", ylabel="memory beyond the idle process, MiB", xlim=0, ylim=(0, 64))


def _outage(axes: Axes, reports: Reports) -> None:
    for outage, color in zip(reports["trouble"]["series"]["outages"], ("#d2691e", "#6b3fd4", "#2e8b57"), strict=False):
        calls = [*outage["before"], *outage["during"], *outage["after"]]
        axes.plot(
            [at - len(outage["before"]) for at in range(len(calls))], calls, color=color, label=outage["name"], lw=1
        )
    axes.set(xlabel="seconds since the outage began", ylabel="calls per second that arrive", ylim=0)


PLOTS = {"waits": _waits, "calls": _calls, "memory": _memory, "outage": _outage}

if __name__ == "__main__":
    main()
