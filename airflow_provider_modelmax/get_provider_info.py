"""What Airflow reads when it discovers the provider. Data only: imports nothing of Airflow."""

from typing import Any

from airflow_provider_modelmax import __version__

CONNECTION_FORM: dict[str, Any] = {
    "ui-field-behaviour": {
        "hidden-fields": ["login", "port", "schema"],
        "relabeling": {"password": "API key", "host": "Base URL"},
        "placeholders": {"password": "sk-…", "host": "https://api.modelmax.io"},
    },
    "conn-fields": {
        "timeout": {
            "label": "Timeout (seconds)",
            "description": "How long one call may wait for an answer. Default: 60.",
            "schema": {"type": ["number", "null"], "exclusiveMinimum": 0},
        },
        "verify": {
            "label": "Verify TLS",
            "description": "true, false, or the path of a CA bundle. Default: true.",
            "schema": {"type": ["string", "null"]},
        },
        "proxy": {
            "label": "Proxy URL",
            "description": "For example http://proxy.example.com:3128. Default: the environment's proxy settings.",
            "schema": {"type": ["string", "null"]},
        },
    },
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's entry in Airflow's registry.

    Source: ``airflow/provider_info.schema.json``; ``ui-field-behaviour`` and ``conn-fields`` are read since 3.2.
    """
    name = "ModelMax"
    return {
        "package-name": "airflow-provider-modelmax",
        "name": name,
        "description": "Generate videos with ModelMax: submit, wait without a worker slot, land whole MP4s.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": name,
                "external-doc-url": "https://modelmax.io",
                "tags": ["service"],
            }
        ],
        "hooks": _modules(name, "hooks.modelmax"),
        "operators": _modules(name, "operators.submit", "operators.download", "operators.generate"),
        "sensors": _modules(name, "sensors.job"),
        "triggers": _modules(name, "triggers.job"),
        "extra-links": [
            f"airflow_provider_modelmax.links.{link}" for link in ("ModelMaxDashboardLink", "ManifestLink")
        ],
        "connection-types": [
            {
                "connection-type": "modelmax",
                "hook-class-name": "airflow_provider_modelmax.hooks.modelmax.ModelMaxHook",
                "hook-name": name,
                **CONNECTION_FORM,
            }
        ],
    }


def _modules(integration: str, *modules: str) -> list[dict[str, Any]]:
    paths = [f"airflow_provider_modelmax.{module}" for module in modules]
    return [{"integration-name": integration, "python-modules": paths}]
