"""All tests on each version of Airflow and Python, as a table by executor and store: `make matrix`."""
