"""The group: lazy subcommands, and what an error looks like to the shell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import click
import pytest
from click.testing import CliRunner

from gscn_sim.cli import COMMANDS, completion, main
from gscn_sim.cli.group import CommandGroup
from gscn_sim.errors import DeadlockError
from workloads import GscnError

HEAVY = ("pandas", "scipy", "simpy", "numba", "torch", "rich", "matplotlib", "optuna", "sqlite3")


def group_that_raises(error: BaseException) -> CommandGroup:
    """A group with one command ``boom`` that raises."""

    class Group(CommandGroup):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
            def boom() -> None:
                raise error

            return click.Command(cmd_name, callback=boom)

    options = [click.Option(["--debug"], is_flag=True, expose_value=False)]
    return Group(name="g", commands={"boom": ("", "")}, params=options)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (GscnError("x.npz: too\nshort"), 2, "error: x.npz: too short"),
        (
            DeadlockError("cycle 7: waiting forever: pe[0]"),
            1,
            "internal error: DeadlockError: cycle 7: waiting forever: pe[0] (--debug shows where)",
        ),
        (ZeroDivisionError("oops"), 1, "internal error: ZeroDivisionError: oops (--debug shows"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.UsageError("no such thing"), 2, "error: no such thing"),
        (MemoryError(), 2, "error: not enough memory"),
    ],
)
def test_each_kind_of_error_has_its_line_and_code(error, code, line):
    result = CliRunner().invoke(group_that_raises(error), ["boom"])
    assert result.exit_code == code
    assert result.stdout == ""
    said = result.stderr.strip().splitlines()
    assert len(said) == 1
    assert said[0].startswith(line)


def test_debug_shows_the_traceback():
    result = CliRunner().invoke(group_that_raises(ValueError("deep")), ["--debug", "boom"])
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert result.stderr.strip().splitlines()[-1] == "internal error: ValueError: deep"


def test_an_unknown_command_is_one_line():
    result = CliRunner().invoke(main, ["runn"])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "runn" in result.stderr


@pytest.mark.parametrize(
    ("words", "proposal"),
    [
        (["runn"], "did you mean run?"),
        (["sensitivty"], "did you mean sweep sensitivity?"),
        (["trace", "inf"], "did you mean info?"),
        (["xyz"], "there are run, "),
        (["run", "x.npz", "--gup", "v100"], "--gpu"),
        (["config", "show", "gcsn"], "did you mean gscn?"),
        (["config", "show", "--set", "pe.acumulator_banks=3"], "mean pe.accumulator_banks?"),
        (["config", "show", "--set", "accumulator_banks=3"], "mean pe.accumulator_banks?"),
        (["run", "x.npz", "--gpu", "gtx1080ti"], "did you mean gtx-1080ti?"),
        (["trace", "synth", "--network", "resnet43", "-o", "x.npz"], "did you mean resnet34?"),
    ],
)
def test_what_is_mistyped_comes_back_with_a_proposal(words, proposal):
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert proposal in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [["-h"], ["run", "-h"], ["trace", "import", "-h"], ["gpu", "-h"]])
def test_h_is_help(words):
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0
    assert result.stdout == CliRunner().invoke(main, [*words[:-1], "--help"]).stdout
    assert result.stdout.startswith("Usage: ")


def test_commands_for_development_stand_apart():
    used, developed = CliRunner().invoke(main, ["-h"]).stdout.split("To check and develop")
    used, asked = used.split("Questions to a sweep that ran")
    for name in COMMANDS:
        places = [f"\n  {name}  " in part for part in (used, asked, developed)]
        assert sum(places) == 1
        assert places[2] == (name in ("demo", "verify", "reproduce"))
        assert places[1] == name.startswith("sweep ")


def test_the_package_runs_as_a_module():
    command = [sys.executable, "-m", "gscn_sim"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("gscn-sim, version ")
    done = subprocess.run([*command, "-h"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: gscn-sim [OPTIONS]")


@pytest.mark.parametrize(
    ("words", "proposed"),
    [
        ("run x.npz --set pe.accumulator_b", ["pe.accumulator_banks="]),
        ("run x.npz --config d", ["dense", "dnnsim-scnn"]),
        ("run x.npz --gpu roofline:v", ["roofline:v100"]),
        ("trace synth --network vgg", ["vgg16", "vgg19"]),
        ("run some", ["some"]),  # files: the shell's own
        ("ru", ["run"]),
    ],
)
def test_the_shell_can_complete(words, proposed):
    environment = {
        "_GSCN_SIM_COMPLETE": "bash_complete",
        "COMP_WORDS": f"gscn-sim {words}",
        "COMP_CWORD": str(len(words.split())),
    }
    result = CliRunner().invoke(main, env=environment, prog_name="gscn-sim")
    assert [line.partition(",")[2] for line in result.stdout.splitlines()] == proposed


def test_values_of_a_choice_are_proposed_after_the_key():
    found = completion.assignments(None, None, "policy.bank_hash=")
    assert all(item.value.startswith("policy.bank_hash=") for item in found)
    keys = completion.assignments(None, None, "dram.preset=h")
    assert [item.value for item in keys] == [f"dram.preset=hbm{n}" for n in ("2", "3", "3e")]
    assert [item.value for item in completion.assignments(None, None, "policy.")]


def test_no_command_shows_the_help():
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 2
    assert "Commands:" in result.stderr


def test_help_lists_every_command_without_heavy_imports():
    code = (
        "import sys; from gscn_sim.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)"
    )
    # Where coverage is measured, the child would load what its tracer needs.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"
    for name in COMMANDS:
        assert f"\n  {name}  " in done.stdout


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"gpu"}))
def test_every_command_has_help(name):
    result = CliRunner().invoke(main, [*name.split(), "--help"])
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")


def test_version_is_the_package_s():
    result = CliRunner().invoke(main, ["--version"])
    assert result.exit_code == 0
    assert "version" in result.stdout


def test_a_reader_that_leaves_is_no_error():
    command = "from gscn_sim.cli import main; main(['config', 'show', '--keys'])"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", command], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert done.returncode == 0
    assert done.stderr == b""


def test_ctrl_c_ends_with_130():
    code = (
        "import click, time\n"
        "from gscn_sim.cli.group import CommandGroup\n"
        "class Group(CommandGroup):\n"
        "    def get_command(self, ctx, name):\n"
        "        def nap():\n"
        "            click.echo('ready')\n"
        "            time.sleep(30)\n"
        "        return click.Command(name, callback=nap)\n"
        "Group(name='g', commands={'nap': ('', '')}).main(['nap'])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors.split() == [b"interrupted"]
