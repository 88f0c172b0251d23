"""``gscn-sim sweep --dry-run``: what a sweep would do, in a few lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from gscn_sim.sweep import SweepPlan
    from gscn_sim.sweep.preview import Pace, Preview


def show_preview(
    plan: SweepPlan,
    folder: str | None,
    *,
    workers: int,
    minutes: float | None,
    retry_failed: bool,
) -> None:
    """Print points, rejections and time of a sweep into ``folder``; write nothing.

    Raises:
        GscnError: no such space, or a store that the sweep could not use.
    """
    from gscn_sim.sweep.errors import SpaceError
    from gscn_sim.sweep.preview import already_there, measure_pace, preview
    from gscn_sim.sweep.runner import design_points
    from gscn_sim.sweep.store import FILE_NAME

    found = preview(plan)
    _show_rejections(found)
    if not found.found:
        raise SpaceError("no design meets the constraints")
    wanted = found.found if found.designs is None else found.found[: found.designs]
    points = [point for design in wanted for point in design_points(plan, design)]
    known: set[str] = set()
    if folder is not None:
        known = already_there(points, Path(folder) / FILE_NAME, retry_failed=retry_failed)
    click.echo(_points(found, len(plan.workloads)))
    left = [point for point in points if point.key not in known and point.config is not None]
    if known:
        click.echo(f"{len(known):,} of {len(points):,} points looked at are there already")
    pace = measure_pace(left)
    if pace is None:
        click.echo("nothing is left to simulate")
        return
    click.echo(_time(found, len(plan.workloads) * len(left) / len(points), pace, workers, minutes))


def _time(found: Preview, left: float, pace: Pace, workers: int, minutes: float | None) -> str:
    """How long it takes, where of each design ``left`` points are to be simulated."""
    from gscn_sim.sweep.runner import in_words

    each = f"{pace.seconds:.2g} s a point ({pace.tried} tried here)"
    if pace.loading_seconds > pace.seconds:
        each += f" after {pace.loading_seconds:.2g} s of loading"
    by = f"{workers} worker{'s' if workers > 1 else ''}"
    if found.designs is None:
        assert minutes is not None
        points = (60 * minutes - pace.loading_seconds) * workers / max(pace.seconds, 1e-9)
        return f"about {max(points, 0):,.0f} points in {in_words(60 * minutes)} by {by}: {each}"
    seconds = pace.loading_seconds + found.designs * left * pace.seconds / workers
    return f"about {in_words(seconds)} by {by}: {each}"


def _show_rejections(found: Preview) -> None:
    from gscn_sim.cli.show import number, show_table, text

    if found.combinations is None:
        of = "proposed designs"
    elif found.looked_at == found.combinations:
        of = "combinations"
    else:
        of = f"of {found.combinations:,} combinations, drawn at random"
    click.echo(f"{found.looked_at:,} {of}, {found.rejected:,} rejected")
    if found.rejections:
        show_table(
            "Rejected by",
            [
                text("constraint", "fold"),
                number("designs", "designs"),
                number("alone", "only it"),
            ],
            [
                {"constraint": each.constraint, "designs": each.designs, "alone": each.alone}
                for each in found.rejections
            ],
        )
    if found.impossible:
        click.echo(f"{found.impossible:,} that no machine can have: rows with an error")


def _points(found: Preview, workloads: int) -> str:
    if found.designs is None:
        return "as many designs as the time allows"
    about = "" if found.exact else "about "
    on = "one trace and batch" if workloads == 1 else f"{workloads} traces and batches"
    return f"{about}{found.designs:,} designs on {on}: {about}{found.designs * workloads:,} points"
