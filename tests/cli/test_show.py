"""Tables for people."""

from __future__ import annotations

import pandas as pd
import pytest

from gscn_sim.cli.show import WIDTH, show_frame


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
