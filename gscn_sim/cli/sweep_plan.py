"""From the words of ``gscn-sim sweep`` to a plan: space, traces, batches, phases, budget."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gscn_sim.cli.exact import searched_objective
from gscn_sim.cli.options import DesignOptions, read_assignments, read_gpu, read_phases
from workloads import GscnError

if TYPE_CHECKING:
    from gscn_sim.sweep import Space, SweepPlan, Workload
    from workloads import Trace


@dataclass(frozen=True, kw_only=True, slots=True)
class SpaceOptions:
    """The options that say which points a sweep has, as they were typed."""

    traces: tuple[str, ...]
    space_file: str | None
    params: tuple[str, ...]
    constraints: tuple[str, ...]
    design: DesignOptions
    phases: str | None
    gpu: str
    batch_size: int | None
    search: str
    budget: str | None
    objective: str
    metric: str | None
    fidelity: str
    seed: int


def make_plan(options: SpaceOptions) -> SweepPlan:
    """The sweep that the options ask for.

    Raises:
        GscnError: an option says nothing, or something impossible.
    """
    from gscn_sim.gpu.device import load_device
    from gscn_sim.sweep import Setting, SweepPlan, parse_objectives

    space, paths, batches = read_plan(
        options.space_file,
        options.params,
        options.constraints,
        options.design,
    )
    loaded = load_traces([*options.traces, *paths])
    device, gpu_model = read_gpu(options.gpu)
    load_device(device)  # points are kept by its name, so a file will not do
    designs, minutes = read_budget(options.budget)
    objective = searched_objective(options.search, options.metric, options.objective)
    return SweepPlan(
        space=space,
        workloads=make_workloads(loaded, batches or [options.batch_size]),
        setting=Setting(
            phases=common_phases(options.phases, [trace for _, trace in loaded]),
            gpu=device,
            gpu_model=gpu_model,
        ),
        search=options.search,
        objectives=parse_objectives(objective),
        budget=designs if minutes is None else sys.maxsize,
        seed=options.seed,
        fidelity=options.fidelity,
    )


def read_plan(
    space_file: str | None,
    params: Sequence[str],
    constraints: Sequence[str],
    design: DesignOptions,
) -> tuple[Space, list[str], list[int | None]]:
    """The space, and what it says about traces and batch sizes.

    Raises:
        GscnError: nothing to vary, or an impossible space.
    """
    from gscn_sim.config.overrides import parse_value
    from gscn_sim.results.sizes import parse_iso
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
    fixed = {key: parse_value(text) for key, text in read_assignments(design.assignments).items()}
    space = Space(
        axes=tuple(by_key.values()),
        base=document.get("config", design.source),
        fixed=fixed,
        derived=tuple((k, Expression(text)) for k, text in document.get("derived", {}).items()),
        constraints=tuple(Expression(t) for t in (*document.get("constraints", ()), *constraints)),
        iso=parse_iso(design.iso),
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


def _values(axis: Any) -> Sequence[Any]:
    return () if axis is None else axis.values()
