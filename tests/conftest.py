"""What all tests share: the oracles are importable, Hypothesis is repeatable and not timed."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")
