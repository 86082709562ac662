"""What the imports of a DAG file cost: our operators and sensor, and those of peers, on top of Airflow."""

from __future__ import annotations

import subprocess
import sys
from statistics import median

from tests.benchmarks.report import Figure, Report, Say
from tests.stack.processes import child_environment

NAME = "airflow_provider_modelmax"
DAG_FILE = (
    f"{NAME}.operators.generate",
    f"{NAME}.operators.submit",
    f"{NAME}.operators.download",
    f"{NAME}.sensors.job",
)
TRIGGER = f"{NAME}.triggers.job"
PEERS = {
    "dbt Cloud": ("airflow.providers.dbt.cloud.operators.dbt", "airflow.providers.dbt.cloud.sensors.dbt"),
    "HTTP": ("airflow.providers.http.operators.http", "airflow.providers.http.sensors.http"),
    "a bash operator": ("airflow.providers.standard.operators.bash",),
}
CHILD = """
import sys, time
import airflow.sdk
from airflow.sdk import DAG, BaseHook, BaseOperator, BaseSensorOperator, BaseOperatorLink, Asset, ObjectStoragePath

for name in sys.argv[1].split(","):
    if name:
        __import__(name)
before, begun = set(sys.modules), time.process_time()
for name in sys.argv[2].split(","):
    __import__(name)
print(time.process_time() - begun, len(set(sys.modules) - before))
"""


def run(quick: bool, say: Say) -> Report:
    """Import in new processes in turn, with cached bytecode."""
    rounds = 5 if quick else 15
    wanted = {
        "ours": ("", DAG_FILE),
        "with the trigger": ("", (*DAG_FILE, TRIGGER)),
        "its base": ("", ("airflow.triggers.base",)),
        "trigger": ("airflow.triggers.base", (TRIGGER,)),
        **{name: ("", modules) for name, modules in PEERS.items()},
    }
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in wanted}
    for _ in range(rounds + 1):
        for name, (first, modules) in wanted.items():
            found[name].append(_import(first, modules))
    costs = {
        name: [1000 * cpu for cpu, _ in each[1:]] for name, each in found.items()
    }  # the first one compiled the bytecode
    modules = {name: each[-1][1] for name, each in found.items()}
    say("  " + ", ".join(f"{name} {median(each):.1f} ms" for name, each in costs.items()))
    ours = median(costs["ours"])
    base = f"airflow.triggers.base alone: {median(costs['its base']):.1f} ms, {modules['its base']} modules"
    return Report(
        "imports",
        "CPU time of imports on top of `airflow.sdk`, with cached bytecode",
        [
            Figure.of("all operators and the sensor", costs["ours"], "≤ 10", unit="ms"),
            Figure("modules that this loads", modules["ours"], "≤ 30", ""),
            Figure.of(
                "with the trigger, which no DAG file needs", costs["with the trigger"], "≤ 10", unit="ms", detail=base
            ),
            Figure("modules that this loads", modules["with the trigger"], "≤ 20", ""),
            Figure.of("the trigger, in a triggerer's loop", costs["trigger"], "≤ 20", unit="ms"),
            *(
                Figure(
                    f"against {name}",
                    ours / median(costs[name]),
                    detail=f"{median(costs[name]):.0f} ms",
                )
                for name in PEERS
            ),
        ],
    )


def _import(first: str, modules: tuple[str, ...]) -> tuple[float, int]:
    command = [sys.executable, "-c", CHILD, first, ",".join(modules)]
    done = subprocess.run(command, env=child_environment({}), capture_output=True, text=True, check=True)
    cpu, count = done.stdout.split()[-2:]
    return float(cpu), int(count)
