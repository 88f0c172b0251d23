"""What all tests share: Hypothesis is repeatable and not timed; the fuzzed cases are counted."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import Phase, settings

import workloads

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


Survived = Callable[..., None]


@pytest.fixture(scope="session")
def digits_trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the small recorded network, one sample of the last recorded iteration."""
    path = tmp_path_factory.mktemp("digits") / "resnet8_digits.npz"
    whole = workloads.load("workloads/data/resnet8_digits.npz")
    last = max(layer.iteration for layer in whole.layers)
    workloads.save(workloads.excerpt(whole, samples=1, iterations=[last]), path)
    return path


@pytest.fixture
def survived(record_property: Callable[[str, object], None]) -> Iterator[Survived]:
    """Takes (kind, what, outcome=count, ...) of what a test tried, for `make chaos`."""
    rows: list[tuple[str, str, dict[str, int]]] = []

    def add(kind: str, what: str, **outcomes: int) -> None:
        rows.append((kind, what, outcomes))

    yield add
    record_property("survived", rows)


def write_chaos_table(page: Path, outcomes: dict[tuple[str, str], Counter[str]]) -> None:
    """Renew the table between the two marks of a page."""
    lines = ["| what | tried | how it ended |", "|---|---|---|"]
    for (kind, what), counts in sorted(outcomes.items()):
        said = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items() if n)
        lines.append(f"| {kind}: {what} | {counts.total():,} | {said} |")
    before, mark, rest = page.read_text(encoding="utf-8").partition("<!-- made by make chaos -->\n")
    _, end, after = rest.partition("<!-- end -->\n")
    page.write_text(f"{before}{mark}\n" + "\n".join(lines) + f"\n\n{end}{after}", encoding="utf-8")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`make chaos` runs the tests that say what survived, and no others."""
    if os.environ.get("CHAOS_PAGE"):
        others = [item for item in items if "survived" not in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if "survived" in getattr(item, "fixturenames", ())]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many cases were fuzzed, whichever processes ran the tests; write chaos's table."""
    tally: Counter[str] = Counter()
    outcomes: dict[tuple[str, str], Counter[str]] = {}
    for report in chain.from_iterable(terminalreporter.stats.values()):
        if getattr(report, "when", None) == "teardown":
            properties = dict(report.user_properties)
            tally.update(properties.get("fuzzed", {}))
            for kind, what, counts in properties.get("survived", ()):
                outcomes.setdefault((kind, what), Counter()).update(counts)
    if page := os.environ.get("CHAOS_PAGE"):
        write_chaos_table(Path(page), outcomes)
    if tally:
        parts = ", ".join(f"{name} {tally[name]}" for name in sorted(tally) if name != "cases")
        terminalreporter.write_line(f"fuzzing: {tally['cases']} cases; {parts}")
