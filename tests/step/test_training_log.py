"""Logs of a training, read again: each row is what was written, or one line says which is not."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gscn_sim.step.training import Epoch, read_epochs
from workloads import GscnError
from workloads.errors import GscnWarning
from workloads.sealed_text import following_digest, row_digest

DAMAGES = int(os.environ.get("DAMAGES", "60"))
COLUMNS = ["step", "epoch", "density"]
ROWS = [[str(step), repr(step / 4), repr(1 / (1 + step))] for step in range(8)]


def sealed_log() -> str:
    """Two epochs of four steps, as a training logs them."""
    lines, digest = [[*COLUMNS, "digest"]], row_digest(COLUMNS)
    for row in ROWS:
        digest = following_digest(digest, row)
        lines.append([*row, digest])
    return "".join(",".join(line) + "\n" for line in lines)


def wanted_of(rows: int) -> list[Epoch]:
    """The first rows added up."""
    found = []
    for epoch in range(-(-rows // 4)):
        steps = range(4 * epoch, min(4 * epoch + 4, rows))
        mean = sum(1 / (1 + step) for step in steps) / len(steps)
        found.append(Epoch(epoch=epoch, steps=len(steps), density=mean))
    return found


WANTED = wanted_of(len(ROWS))


def test_rows_of_a_log_are_checked(tmp_path: Path):
    log = tmp_path / "steps.csv"
    log.write_text(sealed_log())
    assert read_epochs(log) == WANTED
    pd.read_csv(log, dtype=str).to_csv(log)  # which adds its index in front
    assert read_epochs(log) == WANTED

    lines = sealed_log().splitlines(keepends=True)
    log.write_text("".join(lines).replace("0.25,0.5,", "0.25,0.4,"))
    with pytest.raises(GscnError, match=r"line 3: is not what was written.*delete the column dig"):
        read_epochs(log)
    for changed in (lines[:4] + lines[5:], [*lines[:4], lines[5], lines[4], *lines[6:]]):
        log.write_text("".join(changed))
        with pytest.raises(GscnError, match=r"line 5: .*or lines before it are missing"):
            read_epochs(log)
    # Whoever means it deletes the column.
    log.write_text("".join(line.rpartition(",")[0] + "\n" for line in changed))
    assert read_epochs(log) == WANTED


def test_of_a_log_cut_off_the_last_row_is_left_out(tmp_path: Path):
    log, text = tmp_path / "steps.csv", sealed_log()
    start = text.rstrip("\n").rindex("\n") + 1
    for length in range(start + 1, len(text) - 1):
        log.write_text(text[:length])
        with pytest.warns(GscnWarning, match="line 9: was cut off and is left out"):
            assert read_epochs(log) == wanted_of(7)
    for length, rows in ((start, 7), (len(text) - 1, 8), (len(text), 8)):  # without a warning
        log.write_text(text[:length])
        assert read_epochs(log) == wanted_of(rows)


def check_line(text: str) -> None:
    assert text.isprintable()


def test_no_damage_of_a_log_is_believed(tmp_path: Path, survived):
    log, content = tmp_path / "steps.csv", sealed_log().encode()
    random = np.random.default_rng(8)
    ends = Counter()
    for number in range(DAMAGES):
        place = int(random.integers(len(content)))
        changed = bytearray(content)
        match number % 4:
            case 0:
                changed[place] ^= 1 << int(random.integers(8))
            case 1:
                changed[place : place + 5] = random.bytes(len(changed[place : place + 5]))
            case 2:
                del changed[place : place + int(random.integers(1, 60))]
            case 3:
                del changed[place:]
        log.write_bytes(changed)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = read_epochs(log)
        except GscnError as error:
            check_line(str(error))
            ends["refused"] += 1
        else:
            rows = sum(epoch.steps for epoch in found)
            assert found == wanted_of(rows), number
            assert rows == len(ROWS) or content.startswith(changed), "not cut off, but rows lost"
            ends["whole_table" if rows == len(ROWS) else "the_whole_rows"] += 1
    survived("damage", "log of a training", **ends)
    assert ends["refused"] > DAMAGES // 2
