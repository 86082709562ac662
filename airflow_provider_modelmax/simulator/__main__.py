"""`python -m airflow_provider_modelmax.simulator`."""

import sys

from . import require_extra

if __name__ == "__main__":
    try:
        require_extra()
    except ModuleNotFoundError as error:
        sys.exit(str(error))
    from .cli import main

    sys.exit(main())
