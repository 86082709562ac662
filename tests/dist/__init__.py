"""Wheel and sdist: what is in them, and that the wheel alone makes a video."""
