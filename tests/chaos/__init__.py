"""Hundreds of videos through a real Airflow while everything that can be killed is killed."""
