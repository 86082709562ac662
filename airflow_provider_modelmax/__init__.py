"""Airflow provider for ModelMax video generation."""

__version__ = "0.2.0.dev0"
