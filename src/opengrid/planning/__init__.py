"""Decisions before anything starts, and about what happened: pure functions of values."""
