"""Airflow provider for ModelMax video generation."""

__version__ = "0.1.0"
