"""Fixtures of the trace format's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from trace_cases import small_trace

import workloads


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a sound trace file with values."""
    path = tmp_path / "trace.npz"
    workloads.save(small_trace(), path, values=True)
    return path
