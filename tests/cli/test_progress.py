"""The progress bar: on a terminal only, and gone when the command ends."""

import io
import sys

import pytest

from gscn_sim.cli.show import progress


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


@pytest.mark.parametrize(("stream", "quiet"), [(io.StringIO(), False), (Terminal(), True)])
def test_a_file_or_a_quiet_user_sees_nothing(monkeypatch, stream, quiet):
    monkeypatch.setattr(sys, "stderr", stream)
    with progress(quiet) as update:
        assert update is None
    assert stream.getvalue() == ""
