"""A run and a sweep that reports and plots are made of."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_commands import command


@pytest.fixture(scope="session")
def run_json(tmp_path_factory, digits_trace) -> Path:
    path = tmp_path_factory.mktemp("run") / "run.json"
    command("run", digits_trace, "--batch", "8", "-q", "-o", path)
    return path


@pytest.fixture(scope="session")
def sweep_folder(tmp_path_factory, digits_trace) -> Path:
    folder = tmp_path_factory.mktemp("sweep") / "out"
    axes = ("--param", "array.pe_rows=7,14", "--param", "array.clock_ghz=0.8,1.6")
    command("sweep", digits_trace, *axes, "--batch", "2", "-j", "1", "-q", "-o", folder)
    return folder
