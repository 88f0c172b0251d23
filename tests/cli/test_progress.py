"""Progress: a bar on a terminal, lines elsewhere, nothing for who wants quiet."""

import io
import sys
import time

import pytest

from gscn_sim.cli.progress import progress
from gscn_sim.kernels import compiling


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_the_bar_and_what_is_done(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress() as update:
        update(1, 3, "conv2")
    shown = terminal.getvalue()
    assert "1/3" in shown
    assert "conv2" in shown


def test_a_pipe_sees_a_line_every_few_seconds(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr("gscn_sim.cli.progress.SECONDS_BETWEEN_LINES", 0.01)
    with progress() as update:
        wait_for(stream, "compiles its kernels")
        update(0, 3, "conv1")
        wait_for(stream, "0 of 3  starting")
        update(1, 3, "conv2")
        wait_for(stream, "1 of 3  conv2")
    said = stream.getvalue()
    assert said.endswith("\n")
    time.sleep(0.05)
    assert stream.getvalue() == said  # the teller has ended


def test_what_is_compiled_is_named(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr("gscn_sim.cli.progress.SECONDS_BETWEEN_LINES", 0.01)
    with progress() as update:
        update(1, 3, "conv2")
        compiling.begin("outer")
        compiling.begin("inner")
        first = compiling.words()
        wait_for(stream, first)
        compiling.end("inner")
        wait_for(stream, "compiling, once: outer, kernel ")
        compiling.end("outer")
        assert compiling.words() == ""
        stream.seek(0)
        stream.truncate()
        wait_for(stream, "1 of 3  conv2")
    assert first.startswith("compiling, once: inner, kernel ")


def wait_for(stream, words):
    limit = time.monotonic() + 20
    while words not in stream.getvalue():
        assert time.monotonic() < limit
        time.sleep(0.005)


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_a_quiet_user_sees_nothing(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    with progress(True) as update:
        assert update is None
    assert stream.getvalue() == ""
