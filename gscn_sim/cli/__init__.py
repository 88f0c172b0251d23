"""The ``gscn-sim`` command: a group whose subcommands are imported when they are used."""

import click

from gscn_sim.cli.group import CommandGroup

COMMANDS = {
    "run": ("gscn_sim.cli.run:run", "Simulate a trace and compare it with a GPU."),
    "step": ("gscn_sim.cli.step:step", "Run a whole training step, on the machine and a GPU."),
    "ceiling": ("gscn_sim.cli.ceiling:ceiling", "Bound what any array could make of a step."),
    "training": (
        "gscn_sim.cli.training:training",
        "Add up whole steps over a training run, by epoch.",
    ),
    "limits": ("gscn_sim.cli.limits:limits", "Show what each limit of the machine costs a run."),
    "compare": ("gscn_sim.cli.compare:compare", "Compare two designs or runs, by layer and cause."),
    "trace": ("gscn_sim.cli.trace:trace", "Look at, check and make traces."),
    "config": ("gscn_sim.cli.config:config", "List designs and show their full configuration."),
    "gpu": ("gscn_sim.cli.gpu:gpu", "Predict a GPU's times for a table of layers."),
    "verify": ("gscn_sim.cli.verify:verify", "Check the simulator on a trace's own layers."),
    "demo": ("gscn_sim.cli.demo:demo", "Train, record, simulate and compare, in two minutes."),
    "reproduce": (
        "gscn_sim.cli.reproduce:reproduce",
        "Put our figures beside published claims.",
    ),
    "sweep": ("gscn_sim.cli.sweep:sweep", "Simulate many designs; resumes by itself."),
    "sweep best": ("gscn_sim.cli.answers:best", "Show its best designs."),
    "sweep pareto": ("gscn_sim.cli.answers:pareto", "Show its trade-offs."),
    "sweep sensitivity": ("gscn_sim.cli.answers:sensitivity", "Show which parameters matter."),
    "sweep plot": ("gscn_sim.cli.report:plot_sweep", "Draw trade-offs or main effects."),
    "sweep export": ("gscn_sim.cli.answers:export", "Write its table."),
    "sweep compare": ("gscn_sim.cli.compare_points:compare_points", "Compare two of its designs."),
    "report": ("gscn_sim.cli.report:report", "Write a page about a sweep or a run."),
    "plot": ("gscn_sim.cli.report:plot", "Draw a figure of a run."),
}
ANSWERS = tuple(name.removeprefix("sweep ") for name in COMMANDS if name.startswith("sweep "))
FORMER = {name: f"sweep {name}" for name in ("pareto", "best", "sensitivity", "export")}
"""Names of before 0.3, which still work, with a note; the release after it has them no longer."""
APART = {
    "Questions to a sweep that ran": tuple(f"sweep {name}" for name in ANSWERS),
    "To check and develop this project": ("demo", "verify", "reproduce"),
}


@click.group(
    cls=CommandGroup,
    commands=COMMANDS,
    apart=APART,
    former=FORMER,
    invoke_without_command=False,
)
@click.version_option(package_name="gscn-sim", prog_name="gscn-sim")
@click.option("--debug", is_flag=True, help="Show the traceback of an internal error.")
def main(debug: bool) -> None:
    """Simulate GSCN, a sparse convolution accelerator, on traces of sparse training.

    A first look: gscn-sim run TRACE.npz. -h after a command explains it.
    """
