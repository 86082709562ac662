"""All tests on each version of Airflow and Python, as a table of executors and stores: `make matrix`."""
