"""``gscn-sim sweep``: many designs into one store, resumed by the same command."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gscn_sim.cli import completion
from gscn_sim.cli.exact import exact_options, searched_objective, show_proof
from gscn_sim.cli.options import (
    batch_option,
    cache_option,
    command_line,
    config_options,
    gpu_option,
    phase_option,
    read_assignments,
    read_gpu,
    read_phases,
)
from workloads import GscnError

if TYPE_CHECKING:
    from gscn_sim.sweep import Plan, Space, Workload
    from gscn_sim.sweep.runner import Progress, Report
    from workloads import Trace

OBJECTIVES = "speedup,energy_j,area_mm2"


@click.command()
@click.argument("traces", metavar="TRACE...", nargs=-1, shell_complete=completion.files)
@click.option(
    "--space",
    "space_file",
    metavar="FILE",
    shell_complete=completion.files,
    help="A space in TOML.",
)
@click.option(
    "--param",
    "params",
    metavar="KEY=V1,V2,...",
    multiple=True,
    help="An axis: values, or LOW:HIGH[:COUNT][:log]. KEY is a configuration key, config, batch "
    "or trace. Repeatable.",
)
@click.option(
    "--constraint",
    "constraints",
    metavar="EXPR",
    multiple=True,
    help="What every design must meet, as 'on_chip_bytes <= 12.6 MB'. Repeatable.",
)
@config_options
@phase_option
@gpu_option
@batch_option
@click.option(
    "--search",
    type=click.Choice(("grid", "random", "nsga2", "tpe", "exact")),
    default="grid",
    show_default=True,
)
@click.option("--budget", metavar="N|MINmin", help="Designs at most, or minutes, as 30min.")
@click.option(
    "--objective",
    default=OBJECTIVES,
    show_default=True,
    help="What a search improves: metrics, or expressions of them as 'energy_j * seconds', each "
    "with :max or :min after it where that is not clear.",
)
@exact_options
@click.option("--seed", type=click.IntRange(min=0, max=2**31), default=0, show_default=True)
@click.option(
    "--scheduler",
    metavar="local|tcp://HOST:PORT",
    default="local",
    show_default=True,
    help="Worker processes here, or an existing Dask cluster.",
)
@click.option("-j", "--workers", type=click.IntRange(min=1, max=1024), help="Default: all cores.")
@click.option("--retry-failed", is_flag=True, help="Run points again that failed before.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Only say how many points there are, what the constraints reject, and about how long "
    "it takes, from a few points that are tried. Keeps nothing.",
)
@cache_option
@click.option("-o", "--output", "folder", metavar="DIR", help="Required but for --dry-run.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def sweep(
    traces: tuple[str, ...],
    space_file: str | None,
    params: tuple[str, ...],
    constraints: tuple[str, ...],
    source: str,
    assignments: tuple[str, ...],
    phases: str | None,
    gpu: str,
    batch_size: int | None,
    search: str,
    budget: str | None,
    objective: str,
    metric: str | None,
    fidelity: str,
    seed: int,
    scheduler: str,
    workers: int | None,
    retry_failed: bool,
    dry_run: bool,
    cache: str | None,
    folder: str | None,
    quiet: bool,
) -> None:
    """Simulate every design of a space on every TRACE; the same command resumes."""
    from gscn_sim.cli.preview import show_preview
    from gscn_sim.files import make_folder
    from gscn_sim.gpu.device import load_device
    from gscn_sim.run.memo import open_cache
    from gscn_sim.sweep import Evaluation, Plan, Setting, parse_objectives, run_sweep
    from gscn_sim.sweep.schedulers import open_scheduler
    from gscn_sim.sweep.store import FILE_NAME

    if folder is None and not dry_run:
        raise click.UsageError("Missing option '-o' / '--output'; only --dry-run needs none.")
    space, paths, batches = read_plan(space_file, params, constraints, source, assignments)
    loaded = load_traces([*traces, *paths])
    device, gpu_model = read_gpu(gpu)
    load_device(device)  # points are kept by its name, so a file will not do
    designs, minutes = read_budget(budget)
    plan = Plan(
        space=space,
        workloads=make_workloads(loaded, batches or [batch_size]),
        setting=Setting(
            phases=common_phases(phases, [trace for _, trace in loaded]),
            gpu=device,
            gpu_model=gpu_model,
        ),
        search=search,
        objectives=parse_objectives(searched_objective(search, metric, objective)),
        budget=designs if minutes is None else sys.maxsize,
        seed=seed,
        fidelity=fidelity,
    )
    processes = workers or len(os.sched_getaffinity(0))
    if folder is None or dry_run:
        show_preview(plan, folder, workers=processes, minutes=minutes, retry_failed=retry_failed)
        return
    out = make_folder(folder)
    open_cache(cache)  # a folder that is refused is found out before any point runs
    evaluation = Evaluation(cache=cache)

    def say(text: str) -> None:
        if not quiet:
            click.echo(text, err=True)

    with (
        open_scheduler(scheduler, evaluation, processes, plan.workloads, say) as opened,
        reporter(quiet) as report,
    ):
        search_of_plan = plan.open_search()
        try:
            number = run_sweep(
                plan,
                out / FILE_NAME,
                workers=processes,
                minutes=minutes,
                retry_failed=retry_failed,
                scheduler=opened,
                report=report,
                command=command_line(),
                search=search_of_plan,
            )
        except KeyboardInterrupt:
            say(f"{out}: finished points are kept; the same command goes on from there")
            raise
    conclude(out, number, plan)
    show_proof(search_of_plan)


def read_plan(
    space_file: str | None,
    params: Sequence[str],
    constraints: Sequence[str],
    source: str,
    assignments: Sequence[str],
) -> tuple[Space, list[str], list[int | None]]:
    """The space, and what it says about traces and batch sizes.

    Raises:
        GscnError: nothing to vary, or an impossible space.
    """
    from gscn_sim.config.overrides import parse_value
    from gscn_sim.sweep import Expression, Space, parse_param, read_space

    document, axes = read_space(space_file) if space_file is not None else ({}, [])
    axes += [parse_param(text) for text in params]
    by_key = {axis.key: axis for axis in axes}
    if len(by_key) < len(axes):
        raise GscnError("an axis is given twice")
    paths = [str(value) for value in _values(by_key.pop("trace", None))]
    home = Path(space_file).parent if space_file is not None else Path()
    paths += [str(home / name) for name in document.get("traces", ())]
    batches = [*document.get("batch", ()), *_values(by_key.pop("batch", None))]
    for size in batches:
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= 1 << 20:
            raise GscnError(f"batch must be a positive int, got {size!r}")
    fixed = {key: parse_value(text) for key, text in read_assignments(assignments).items()}
    space = Space(
        axes=tuple(by_key.values()),
        base=document.get("config", source),
        fixed=fixed,
        derived=tuple((k, Expression(text)) for k, text in document.get("derived", {}).items()),
        constraints=tuple(Expression(t) for t in (*document.get("constraints", ()), *constraints)),
    )
    return space, paths, batches


def load_traces(paths: Sequence[str]) -> list[tuple[str, Trace]]:
    """Load every trace of a sweep.

    Raises:
        GscnError: there is none, one is given twice, or one cannot be read.
    """
    import workloads

    if not paths:
        raise GscnError("name at least one TRACE, or traces in the space file")
    if len(set(paths)) < len(paths):
        raise GscnError("a trace is given twice")
    return [(path, workloads.load(path)) for path in paths]


def make_workloads(
    loaded: Sequence[tuple[str, Trace]], batches: Sequence[int | None]
) -> list[Workload]:
    """Every trace at every batch size (None: its own)."""
    from gscn_sim.sweep import Workload

    return [Workload.of(path, trace, size) for path, trace in loaded for size in batches]


def common_phases(text: str | None, traces: Sequence[Trace]) -> tuple[str, ...]:
    """The phases of a sweep: of its traces, if they agree.

    Raises:
        GscnError: some traces have reuse sparsity and some do not, and ``--phase`` is not given.
    """
    found = {read_phases(text, trace) for trace in traces}
    if len(found) > 1:
        raise GscnError("the traces differ in reuse sparsity: choose the phases with --phase")
    return tuple(str(phase) for phase in found.pop())


def read_budget(text: str | None) -> tuple[int | None, float | None]:
    """Read ``200``, ``30min`` or ``2h`` as designs or minutes.

    Raises:
        GscnError: it is none of these.
    """
    if text is None:
        return None, None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(min|h)?", text.strip())
    if match is None or float(match[1]) <= 0 or (match[2] is None and "." in match[1]):
        raise GscnError(f"--budget must be designs, as 200, or time, as 30min or 2h; got {text!r}")
    if match[2] is None:
        return int(match[1]), None
    return None, float(match[1]) * (60 if match[2] == "h" else 1)


@contextmanager
def reporter(quiet: bool) -> Iterator[Report]:
    """Show how far a sweep is: a bar where stderr is a terminal, sentences everywhere."""
    from gscn_sim.cli.progress import progress

    with progress(quiet) as update:

        def report(state: Progress) -> None:
            if state.message and not quiet:
                click.echo(state.message, err=True)
            if update is not None:
                failed = f", {state.failed} failed" if state.failed else ""
                reused = f", {state.reused} were there" if state.reused else ""
                update(state.finished, state.total or state.finished, f"points{reused}{failed}")

        yield report


def conclude(out: Path, number: int, plan: Plan) -> None:
    """Write the table beside the store and print the best designs."""
    from gscn_sim.cli.show import show_frame
    from gscn_sim.files import write_table
    from gscn_sim.results.provenance import provenance
    from gscn_sim.results.words import metric_words
    from gscn_sim.sweep import best, sweep_table

    frame = sweep_table(out, number)
    facts = {w.path: {"network": w.network, "digest": w.digest} for w in plan.workloads}
    gpu = f"{plan.setting.gpu} ({plan.setting.gpu_model})"
    origin: dict[str, Any] = provenance({"traces": facts}, gpu=gpu, command=command_line())
    write_table(out / "sweep.csv", frame, {"sweep": plan.description(), "provenance": origin})
    failed = int((frame["status"] == "failed").sum())
    if failed == len(frame) > 0:
        raise GscnError(f"every point failed, the first with: {frame['error'].iloc[0]}")
    objective = plan.objectives[0]
    top = best(frame, objective)
    show_frame(
        f"Best {len(top)} designs by {metric_words(objective.metric)}", _without_constants(top)
    )
    said = f", {failed} failed (their error is in the table)" if failed else ""
    click.echo(f"{len(frame)} points{said}; table: {out / 'sweep.csv'}")


def _without_constants(frame: Any) -> Any:
    keep = [n for n in frame.columns if n != "sweep" and (n == "point" or len(frame) > 1)]
    return frame[keep] if keep else frame


def _values(axis: Any) -> Sequence[Any]:
    return () if axis is None else axis.values()
