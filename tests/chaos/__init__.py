"""Hundreds of videos in a real Airflow while tasks, servers and the store are killed."""
