"""The ModelMax connection at work."""
