"""Waiting for jobs that were submitted elsewhere."""
