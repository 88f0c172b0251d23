"""``gscn-sim demo``: the whole way from training to speed-up in one command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gscn_sim.cli.options import DesignOptions, config_options, gpu_option, read_gpu, read_phases
from workloads import GscnError

TIDY_SECONDS = 10

if TYPE_CHECKING:
    from gscn_sim.config import Config
SHIPPED_TRACE = "resnet8_digits.npz"
COMPILE = (
    "import sys; from gscn_sim.cli.demo import compile_kernels; compile_kernels(*sys.argv[1:])"
)


@click.command()
@click.option("-o", "--output", "folder", metavar="DIR", default="demo", show_default=True)
@click.option(
    "--epochs",
    type=click.IntRange(min=1, max=1000),
    default=20,
    show_default=True,
    help="Epochs of training.",
)
@config_options
@gpu_option
def demo(folder: str, epochs: int, design: DesignOptions, gpu: str) -> None:
    """Train a small network with ReSprop, record its sparse gradients, simulate, compare.

    The last line is about a whole training step, every operation on both sides. Everything is left
    in DIR: the trace, the tables (CSV and JSON) and a timeline for Perfetto.
    """
    config = design.read()
    device, gpu_model = read_gpu(gpu)

    import workloads
    from gscn_sim.api import simulate
    from gscn_sim.cli.layers import show_run
    from gscn_sim.cli.progress import progress
    from gscn_sim.cli.run import save
    from gscn_sim.files import make_folder
    from gscn_sim.run.memo import Cache
    from gscn_sim.step.simulate import simulate_step

    out = make_folder(folder)
    cache = Cache()
    timeline = out / "timeline.json.gz"
    with compiling(config) as wait:
        trace = workloads.load(_trace(out, epochs))
        click.echo(f"\nSimulating {trace.network} on {config.name} ...", err=True)
        with progress() as update:
            wait()
            run = simulate(
                trace,
                config,
                phases=read_phases(None, trace),
                gpu=device,
                gpu_model=gpu_model,
                progress=update,
                timeline=timeline,
                cache=cache,
            )
        with progress() as update:
            beside = device if gpu_model == "analytical" else None  # a step has no roofline
            whole = simulate_step(trace, config, gpu=beside, cache=cache, progress=update)
    save(run, str(out / "layers.csv"), ".csv", timeline)
    save(run, str(out / "run.json"), ".json", timeline)
    show_run(run)
    click.echo(run.headline + "\n")
    click.echo(whole.headline)
    written = "layers.csv, run.json, timeline.json.gz (open it at ui.perfetto.dev)"
    click.echo(f"\nIn {out}: {written}", err=True)


@contextmanager
def compiling(config: Config) -> Iterator[Callable[[], None]]:
    """Compile kernels beside what happens in the block, in two processes; gives a call that waits.

    They simulate one iteration of the trace that ships, and only numba's cache keeps something of
    it. Whether they succeed does not matter: the simulation itself compiles what is missing.
    """
    from gscn_sim.config.loader import flatten_config

    values = json.dumps(flatten_config(config))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", COMPILE, values, phases],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for phases in ("dgrad", "wgrad,pre_wgrad")
    ]

    def wait() -> None:
        for process in processes:
            process.wait()

    try:
        yield wait
    finally:
        for process in processes:
            process.kill()
            process.wait()


def compile_kernels(values: str, phases: str) -> None:
    """Simulate one iteration of the trace that ships on the design with these values."""
    import workloads
    from gscn_sim.config import load_config
    from gscn_sim.run.simulate import simulate

    trace = workloads.load(_shipped())
    layers = [layer for layer in trace.layers if layer.iteration == trace.layers[0].iteration]
    config = load_config("gscn", json.loads(values))
    simulate(replace(trace, layers=layers), config, phases=phases.split(","))


def _shipped() -> Path:
    return Path(str(resources.files("workloads.data").joinpath(SHIPPED_TRACE)))


def _trace(out: Path, epochs: int) -> Path:
    """Train and record; without torch, take the trace that ships with the package."""
    if find_spec("torch") is None:
        click.echo(
            "PyTorch is not installed (pip install 'gscn-sim[train]'): no training here. "
            f"Using the recorded trace that ships with the package, {SHIPPED_TRACE}."
        )
        return _shipped()
    path = out / "trace.npz"
    options = {
        "--model": "resnet8",
        "--dataset": "digits",
        "--reuse-sparsity": "0.9",
        "--epochs": str(epochs),
        "--warmup-epochs": "6",
        "--batch-size": "128",
        "--threads": "1",  # the same result on any number of cores, busy ones too
        "--record": "last:8",  # density swings from step to step
        "--trace": str(path),
    }
    arguments = [text for pair in options.items() for text in pair]
    click.echo(f"$ resprop-train {' '.join(arguments)}")
    start = "from resprop_train.cli import main; main()"
    code = _ended(_start([sys.executable, "-c", start, *arguments]))
    if code:
        raise GscnError(f"training ended with exit code {code}; its message is above")
    return path


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command)


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Wait for the trainer; whatever ends this process ends it too, and lets it clean up."""
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        try:
            process.wait(TIDY_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
