"""A real Airflow, a real S3 server and the simulator on this machine, for tests, demos and benchmarks."""
