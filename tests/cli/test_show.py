"""Tables for people."""

from __future__ import annotations

import pandas as pd
import pytest

from gscn_sim.cli.show import WIDTH, show_frame
from gscn_sim.results.words import duration


def test_no_number_loses_digits(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns of numbers that do not fit into the width make the table wider."""
    values = [10_000_000 + i for i in range(14)]
    frame = pd.DataFrame([values], columns=[f"pe.size_{i}_bytes" for i in range(14)])
    show_frame("Sizes", frame)
    lines = capsys.readouterr().out.rstrip().splitlines()
    assert lines[-1].split() == [f"{value:,}" for value in values]
    assert len(lines[-1]) > WIDTH


def test_a_table_that_fits_stays_within_the_width(capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame([[1, "a long explanation " * 9]], columns=["n", "why"])
    show_frame("Reasons", frame)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= WIDTH


def test_metrics_have_one_unit_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame({"point": [3], "speedup": [2.5], "energy_j": [0.27], "seconds": [0.0037]})
    show_frame("Best", frame)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["energy", "time"]
    assert lines[2].split() == ["point", "speed-up", "mJ", "ms"]
    assert lines[4].split() == ["3", "2.500x", "270.0", "3.700"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.5, "2.5 s"), (0.0037, "3.7 ms"), (2.62e-5, "26.2 µs"), (5e-9, "5 ns"), (0.0, "0 ns")],
)
def test_times_have_the_unit_that_suits_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
