"""Text that comes from files, streams that are closed or full, and signals."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from gscn_sim.cli import main
from gscn_sim.cli.progress import progress
from gscn_sim.cli.show import show_frame
from gscn_sim.files import csv_text
from gscn_sim.report.static import write_plot

ROOT = Path(__file__).resolve().parents[2]
START = "from gscn_sim.cli import main; main()"
ODD = ("[/x]", "[bold red]", "$\\frac{$", "a\x1b[31mb", "a\nb", "\u202eabc", "→", "\udcff")


def command(*words: object, redirect: str = "", **environment: str) -> tuple[int, bytes, str]:
    """Run the command by a shell, which redirects its output."""
    ran = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirect}', "sh", sys.executable, "-c", START, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        check=False,
    )
    return ran.returncode, ran.stdout, ran.stderr.decode()


def test_closed_and_full_outputs():
    assert command("config", "list", redirect=">&-")[0] == 0
    assert command("config", "list", redirect=">&- 2>&- <&-")[0] == 0
    code, _, said = command("config", "list", redirect=">/dev/full")
    assert code == 2
    assert said == "error: standard output or a temporary file: No space left on device\n"
    assert command("config", "show", "none", redirect="2>/dev/full")[0] == 2


def test_a_terminal_without_the_characters(tmp_path):
    named = tmp_path / "→.toml"
    named.write_text("x")
    for encoding in ("latin-1", "ascii"):
        code, _, said = command("config", "show", named, PYTHONIOENCODING=encoding)
        assert code == 2
        assert ".toml: not valid TOML" in said
        assert encoding != "latin-1" or "\\u2192" in said


def test_what_reaches_the_terminal_is_printable(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text('"\\u001b[31mpe" = 1\n')
    code, _, said = command("config", "show", path)
    assert code == 2
    assert said.rstrip("\n").isprintable()


@pytest.mark.parametrize("what", ODD)
def test_progress_shows_names_as_they_are(monkeypatch, what):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    with progress() as update:
        assert update is not None
        update(1, 2, what)
        update(2, 2, what)
    assert "\x1b[31m" not in screen.getvalue()


def test_tables_show_names_as_they_are(capsys):
    show_frame("Odd", pd.DataFrame({"name": ODD[:-1], "n": range(len(ODD) - 1)}))
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "[/x]" in shown
    assert "a\\nb" in shown


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_no_formula_goes_into_a_csv(start):
    text = f"{start}cmd|' /C calc'!A0"
    frame = pd.DataFrame({"layer": [text, "conv"], "n": [-1, 2.5], text: ["a", "b"]})
    found = pd.read_csv(io.StringIO(csv_text(frame)), keep_default_na=False)
    assert list(found["layer"]) == [f"'{text}", "conv"]
    assert list(found["n"]) == [-1, 2.5]
    assert all(not str(cell).startswith(("=", "+", "@")) for cell in found.to_numpy().ravel())
    assert str(found.columns[2]).startswith("'")


def test_a_plot_of_odd_names(tmp_path, monkeypatch):
    from gscn_sim.report import static

    def draw(axes):
        axes.set_xlabel("".join(ODD[:3]))
        axes.bar(["$\\frac{$", "$x$"], [1, 2])

    monkeypatch.setattr(static, "read_source", lambda source: None)
    monkeypatch.setattr(static, "_drawing", lambda *_: draw)
    write_plot("x", tmp_path / "x.svg", kind=None, x_metric="a", y_metric="b")
    assert (tmp_path / "x.svg").stat().st_size


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_trainer_that_is_ended_leaves_nothing(tmp_path, number):
    """In the middle of recording: neither the recorder's files nor the trace."""
    words = ("--record", "0-200", "--epochs", "50", "--threads", "1", "--trace", "t.npz")
    start = "from resprop_train.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", start, *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # nohup would ignore it
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    assert process.wait(60) == -number
    assert list(tmp_path.iterdir()) == []


def test_too_few_open_files_are_said_at_once(monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (5, 5))
    ran = CliRunner().invoke(main, ["config", "list"])
    assert ran.exit_code == 2
    assert ran.stderr == (
        "error: at least 16 open files must be allowed, got 5; ulimit -n 64 allows more\n"
    )
    monkeypatch.setattr(resource, "getrlimit", lambda _: (16, 16))
    assert CliRunner().invoke(main, ["config", "list"]).exit_code == 0
