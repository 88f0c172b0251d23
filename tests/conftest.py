"""What all tests share: the oracles are importable, Hypothesis is repeatable and not timed."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")
# Tests neither find nor leave results in the cache of whoever runs them.
os.environ["GSCN_SIM_CACHE"] = "off"
# A shell starts what runs in its background with SIGINT ignored, and processes that tests interrupt
# would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
