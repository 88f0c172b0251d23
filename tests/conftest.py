"""What all tests share: the oracles are importable, Hypothesis is repeatable and not timed."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")
# Tests neither find nor leave results in the cache of whoever runs them.
os.environ["GSCN_SIM_CACHE"] = "off"
