"""Counting of fuzzed cases, and CPU time as the guard against hangs."""

from __future__ import annotations

import functools
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

CASE_CPU_SECONDS = 20.0


class Fuzz:
    """Runs one case: a user error is a refusal, anything else that is raised fails the test."""

    def __init__(
        self,
        tally: Counter[str],
        kind: str,
        allowed: type[Exception] | tuple[type[Exception], ...],
    ) -> None:
        self.tally = tally
        self.kind = kind
        self.allowed = allowed

    def __call__(self, case: Callable[[], bool], show: Callable[[], object]) -> None:
        """Run a case, which returns whether what it accepted is what the input says."""
        self.tally["cases"] += 1
        try:
            with cpu_limit(CASE_CPU_SECONDS):
                equal = case()
        except self.allowed as error:
            message = str(error)
            assert message.isprintable(), f"{message!r} is not one line, for {show()}"
            assert message, f"empty message for {show()}"
            self.tally[f"{self.kind}: refused"] += 1
            return
        assert equal, f"accepted as something else: {show()}"
        self.tally[f"{self.kind}: read as it says"] += 1


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
def fuzz(record_property: Callable[[str, object], None]) -> Iterator[Callable[..., Fuzz]]:
    """Makes a Fuzz of a kind of input; what it counted goes into the test's report."""
    tally: Counter[str] = Counter()
    yield functools.partial(Fuzz, tally)
    record_property("fuzzed", dict(tally))
