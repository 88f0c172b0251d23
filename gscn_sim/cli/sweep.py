"""``gscn-sim sweep``: many designs into one store, resumed by the same command."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gscn_sim.cli import completion
from gscn_sim.cli.exact import exact_options, show_proof
from gscn_sim.cli.options import (
    OBJECTIVES,
    batch_option,
    cache_option,
    command_line,
    config_options,
    gpu_option,
    phase_option,
    quiet_option,
)
from gscn_sim.cli.sweep_plan import SpaceOptions, make_plan, read_budget
from workloads import GscnError

if TYPE_CHECKING:
    from gscn_sim.sweep import SweepPlan
    from gscn_sim.sweep.runner import Progress, Report
    from gscn_sim.sweep.search import Search


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
@quiet_option
def sweep(
    scheduler: str,
    workers: int | None,
    retry_failed: bool,
    dry_run: bool,
    cache: str | None,
    folder: str | None,
    quiet: bool,
    **space: Any,
) -> None:
    """Simulate every design of a space on every TRACE; the same command resumes.

    Questions to a sweep that ran: gscn-sim sweep best, pareto, sensitivity, plot, export or
    compare, then its DIR.
    """
    from gscn_sim.cli.preview import show_preview
    from gscn_sim.files import make_folder

    options = SpaceOptions(**space)
    _check_question(options.traces)
    if folder is None and not dry_run:
        raise click.UsageError("Missing option '-o' / '--output'; only --dry-run needs none.")
    plan, (_, minutes) = make_plan(options), read_budget(options.budget)
    processes = workers or len(os.sched_getaffinity(0))
    if folder is None or dry_run:
        show_preview(plan, folder, workers=processes, minutes=minutes, retry_failed=retry_failed)
        return
    number, search = simulate(
        plan,
        make_folder(folder),
        workers=processes,
        minutes=minutes,
        retry_failed=retry_failed,
        scheduler=scheduler,
        cache=cache,
        quiet=quiet,
    )
    conclude(Path(folder), number, plan)
    show_proof(search)


def _check_question(traces: Sequence[str]) -> None:
    """Tell a mistyped question to a sweep from a trace that is missing."""
    from gscn_sim.cli import ANSWERS
    from workloads.errors import did_you_mean, one_line

    if traces and (meant := did_you_mean(traces[0], ANSWERS)) and not Path(traces[0]).exists():
        raise GscnError(f"no such trace or question {one_line(traces[0])!r:.80}{meant}")


def simulate(
    plan: SweepPlan,
    out: Path,
    *,
    workers: int,
    minutes: float | None,
    retry_failed: bool,
    scheduler: str,
    cache: str | None,
    quiet: bool,
) -> tuple[int, Search]:
    """Run what is missing of a sweep into its folder; return its number there and its search."""
    from gscn_sim.run.memo import open_cache
    from gscn_sim.sweep import Evaluation, run_sweep
    from gscn_sim.sweep.schedulers import open_scheduler
    from gscn_sim.sweep.store import FILE_NAME

    open_cache(cache)  # a folder that is refused is found out before any point runs

    def say(text: str) -> None:
        if not quiet:
            click.echo(text, err=True)

    with (
        open_scheduler(scheduler, Evaluation(cache=cache), workers, plan.workloads, say) as opened,
        reporter(quiet) as report,
    ):
        search_of_plan = plan.open_search()
        try:
            number = run_sweep(
                plan,
                out / FILE_NAME,
                workers=workers,
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
    return number, search_of_plan


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


def conclude(out: Path, number: int, plan: SweepPlan) -> None:
    """Write the table beside the store and print the best designs."""
    from gscn_sim.cli.show import say_note, show_frame
    from gscn_sim.files import write_table
    from gscn_sim.results.provenance import provenance
    from gscn_sim.results.words import metric_words
    from gscn_sim.sweep import best, size_note, sweep_table

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
    say_note(size_note(top), people=True)
    said = f", {failed} failed (their error is in the table)" if failed else ""
    click.echo(f"{len(frame)} points{said}; table: {out / 'sweep.csv'}")


def _without_constants(frame: Any) -> Any:
    hidden = ("sweep", "dram_gbps")
    keep = [n for n in frame.columns if n not in hidden and (n == "point" or len(frame) > 1)]
    return frame[keep] if keep else frame
