"""A running Airflow whose provider is upgraded from the last release to this tree."""
