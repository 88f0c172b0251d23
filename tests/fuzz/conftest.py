"""Counting of fuzzed cases, CPU time as the guard against hangs, and the closing line."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

TALLY: Counter[str] = Counter()
CASE_CPU_SECONDS = 20.0


class Fuzz:
    """Runs one case: a user error is a refusal, anything else that is raised fails the test."""

    def __init__(self, kind: str, allowed: type[Exception]) -> None:
        self.kind = kind
        self.allowed = allowed

    def __call__(self, case: Callable[[], bool], show: Callable[[], object]) -> None:
        """Run a case, which returns whether what it accepted is what the input says."""
        TALLY["cases"] += 1
        try:
            with cpu_limit(CASE_CPU_SECONDS):
                equal = case()
        except self.allowed as error:
            message = str(error)
            assert message.isprintable(), f"{message!r} is not one line, for {show()}"
            assert message, f"empty message for {show()}"
            TALLY[f"{self.kind}: refused"] += 1
            return
        assert equal, f"accepted as something else: {show()}"
        TALLY[f"{self.kind}: read as it says"] += 1


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Fail when the block uses more CPU time; a slow machine does not matter."""

    def hang(*_: object) -> None:
        raise AssertionError(f"more than {seconds} CPU seconds: a hang")

    before = signal.signal(signal.SIGPROF, hang)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@pytest.fixture
def fuzz() -> type[Fuzz]:
    return Fuzz


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TALLY:
        parts = ", ".join(f"{name} {TALLY[name]}" for name in sorted(TALLY) if name != "cases")
        terminalreporter.write_line(f"fuzzing: {TALLY['cases']} cases; {parts}")
