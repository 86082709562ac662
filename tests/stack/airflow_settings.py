"""Settings of the test Airflow: everything inside one folder, its own ports, short intervals. Starts nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.stack.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.stack.postgres import Database

# Fixed, so that a restarted component can read what it wrote; they protect only a temporary Airflow.
FERNET_KEY = "bW9kZWxtYXgtdGVzdC1zdGFjay0tLWZlcm5ldC1rZXk="
JWT_SECRET = "modelmax-test-stack-jwt-secret-of-a-length-that-sha-512-finds-sufficient"


def settings(home: Path, bundles: Mapping[str, Path], database: Database, port: int) -> dict[str, str]:
    """Return the settings: everything inside `home`, its own ports, short intervals."""
    url = f"http://127.0.0.1:{port}"
    options = {
        "core": {
            "executor": "LocalExecutor",
            "parallelism": "8",
            "load_examples": "False",
            "dags_folder": str(home / "no-dags"),
            "dags_are_paused_at_creation": "False",
            "simple_auth_manager_all_admins": "True",
            "fernet_key": FERNET_KEY,
            "test_connection": "Enabled",
            "execution_api_server_url": f"{url}/execution/",
            # The default asks the name server, which takes seconds if there is none.
            "hostname_callable": "socket.gethostname",
        },
        "database": {"sql_alchemy_conn": database.url},
        "api": {
            "host": "127.0.0.1",
            "port": str(port),
            "base_url": url,
            "workers": "1",
            "secret_key": JWT_SECRET,
        },
        "api_auth": {"jwt_secret": JWT_SECRET},
        "logging": {
            "base_log_folder": str(home / "logs"),
            "colored_console_log": "False",
            "worker_log_server_port": str(free_port()),
            "trigger_log_server_port": str(free_port()),
        },
        "scheduler": {"scheduler_idle_sleep_time": "0.3", "scheduler_heartbeat_sec": "1"},
        "triggerer": {"job_heartbeat_sec": "2", "triggerer_health_check_threshold": "10"},
        "dag_processor": {
            # The refresh finds new and changed files; the others need not be parsed all the time.
            "refresh_interval": "3",
            "bundle_refresh_check_interval": "1",
            "min_file_process_interval": "60",
            "parsing_processes": "2",
            "dag_bundle_config_list": json.dumps(
                [
                    {
                        "name": name,
                        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
                        "kwargs": {"path": str(folder.resolve())},
                    }
                    for name, folder in bundles.items()
                ]
            ),
        },
        "usage_data_collection": {"enabled": "False"},
    }
    flat = {
        f"AIRFLOW__{section}__{name}".upper(): value
        for section, pairs in options.items()
        for name, value in pairs.items()
    }
    return {"AIRFLOW_HOME": str(home), **flat}
