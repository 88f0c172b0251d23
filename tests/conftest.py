"""What all tests share: Hypothesis is repeatable and not timed; the fuzzed cases are counted."""

from __future__ import annotations

import os
import signal
from collections import Counter
from itertools import chain

import pytest
from hypothesis import Phase, settings

settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")
# For `make mutants`, which asks whether a test fails, not for the smallest example that does.
settings.register_profile("unshrunk", phases=(Phase.explicit, Phase.generate))
# Tests neither find nor leave results in the cache of whoever runs them.
os.environ["GSCN_SIM_CACHE"] = "off"
# A shell starts what runs in its background with SIGINT ignored, and processes that tests interrupt
# would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many cases were fuzzed, whichever processes ran the tests."""
    tally: Counter[str] = Counter()
    for report in chain.from_iterable(terminalreporter.stats.values()):
        if getattr(report, "when", None) == "teardown":
            tally.update(dict(report.user_properties).get("fuzzed", {}))
    if tally:
        parts = ", ".join(f"{name} {tally[name]}" for name in sorted(tally) if name != "cases")
        terminalreporter.write_line(f"fuzzing: {tally['cases']} cases; {parts}")
