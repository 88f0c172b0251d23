"""The front door: what ``import gscn_sim`` offers, with paths and names as well as objects."""

from __future__ import annotations

import html
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gscn_sim.compare.comparison import DEFAULT_GPU, DEFAULT_GPU_MODEL, Comparison
from gscn_sim.config import Config, load_config
from gscn_sim.errors import ConfigError
from gscn_sim.run import simulate as machine
from workloads import Layer, Trace, TraceError, load

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from gscn_sim.report.sources import RunSource
    from gscn_sim.run.memo import Cache
    from gscn_sim.run.simulate import Progress

TraceOrPath = Trace | str | os.PathLike[str]
ConfigOrName = Config | str | os.PathLike[str]
Phases = str | Iterable[str]
_SHOWN = (
    *("phase", "layers", "seconds", "gpu_seconds", "speedup", "speedup_low", "speedup_high"),
    *(
        "dense_seconds",
        "speedup_over_dense",
        "work_reduction",
        "utilization",
        "limited_by",
        "energy_j",
    ),
)


class Run(Comparison):
    """What :func:`simulate` returns: tables, a sentence, pictures."""

    def plot(
        self, kind: Literal["speedup", "slots"] = "speedup", path: str | Path | None = None
    ) -> Figure:
        """Draw the layers' speed-ups, or where the multiplier slots went.

        With ``path`` the figure is also written, as .png, .svg or .pdf.

        Raises:
            GscnError: matplotlib is missing, no such kind, or the file cannot be written.
        """
        from gscn_sim.report.static import draw, save_figure

        figure = draw(self._source(), kind)
        if path is not None:
            save_figure(figure, path)
        return figure

    def report(self, path: str | Path = "report.html") -> Path:
        """Write one self-contained HTML page about the run; return where.

        Raises:
            GscnError: plotly or jinja2 is missing, or the page cannot be written.
        """
        from gscn_sim.files import write_text
        from gscn_sim.report.html import run_page

        write_text(path, run_page(self._source()))
        return Path(path)

    def _source(self) -> RunSource:
        from gscn_sim.compare.document import run_document
        from gscn_sim.report.sources import source_of_run

        return source_of_run(run_document(self))

    def _repr_html_(self) -> str:
        """The summary as notebooks show it, under the headline."""
        table = self.summary[list(_SHOWN)].to_html(index=False, border=0)
        return f"<p>{html.escape(self.headline)}</p>{table}"


def simulate(
    trace: TraceOrPath,
    config: ConfigOrName = "gscn",
    phases: Phases | None = None,
    *,
    batch_size: int | None = None,
    gpu: str | None = DEFAULT_GPU,
    gpu_model: str = DEFAULT_GPU_MODEL,
    workers: int = 2,
    progress: Progress | None = None,
    timeline: str | Path | None = None,
    cache: Cache | None = None,
    recall: bool = False,
    iterations: Collection[int] | None = None,
) -> Run:
    """Simulate phases of every layer record of a trace, and set them beside a GPU.

    A batch larger than what was recorded repeats the recorded samples in order.

    Args:
        trace: a trace, or the path of its file.
        config: a design, the name of a preset, or the path of a TOML file.
        phases: one or more names of :class:`workloads.Phase`, ``"dgrad"`` or ``"dgrad,wgrad"`` or
            a list. Without it: dgrad and wgrad, and both pre-phases for a trace with reuse
            sparsity. A phase that a layer cannot run because training never runs it (dgrad of the
            first layer) is left out.
        batch_size: samples of every iteration; by default those that each was recorded with.
        gpu: the GPU to compare with; None for none.
        gpu_model: how the GPU's times are told: ``analytical``, or ``roofline``.
        workers: threads for the kernels, 0 for none beside the caller's; results do not depend on
            it.
        progress: called with (done, total, what) before each layer record and at the end.
        timeline: file to write a trace-event timeline of the sampled PEs, drains and DRAM to.
        cache: where to look up what earlier runs have worked out (:func:`open_cache`); results do
            not depend on it.
        recall: whether to look up the whole run there too, and to keep it; not with a timeline.
        iterations: those to run, of the recorded ones; what was recorded before them is known to
            ``policy.knowledge = "previous"`` all the same. All by default.

    Raises:
        ConfigError: an unknown phase, a batch size below 1, or a mapping that does not fit.
        TraceError: the trace cannot be read.
        GpuError: an unknown GPU, or one without times of its own.
        DeadlockError, IdentityError: the simulation itself went wrong.
    """
    from gscn_sim.compare.gpu_times import check_gpu

    check_gpu(gpu, gpu_model)
    found = machine.simulate(
        trace_of(trace),
        config_of(config),
        None if phases is None else phase_names(phases),
        batch_size=batch_size,
        workers=workers,
        progress=progress,
        timeline=timeline,
        cache=cache,
        recall=recall,
        iterations=iterations,
    )
    return Run(simulation=found, gpu=gpu, gpu_model=gpu_model)


def verify(
    trace: TraceOrPath,
    config: ConfigOrName = "gscn",
    *,
    phases: Phases = ("forward", "dgrad", "wgrad"),
    functional_layers: int = 4,
    seed: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Simulate every layer-phase with its identities, and execute some layers with values.

    The functional check fills the recorded masks of ``functional_layers`` layers, drawn with
    ``seed`` among those small enough, with small integers and compares :func:`execute` with a
    direct convolution, exactly. Trace, config and phases are as in :func:`simulate`.

    Returns:
        One row per check: check, layer, phase, expected, got, passed.
    """
    from gscn_sim.run.verify import verify as check

    return check(
        trace_of(trace),
        config_of(config),
        phases=phase_names(phases),
        functional_layers=functional_layers,
        seed=seed,
        progress=progress,
    )


def execute(layer: Layer, phase: str, config: ConfigOrName = "gscn") -> NDArray[np.float64]:
    """The result that the machine would compute for a layer-phase from the recorded values.

    Every product is formed where the timing model forms it; on integer-valued operands the result
    equals a direct convolution exactly.

    Returns:
        forward: [n, K, P, Q]; dgrad: [n, C, H, W]; wgrad: [K, C / groups, R, S].

    Raises:
        ConfigError: values the phase needs are not in the trace, or no mapping fits.
    """
    from gscn_sim.run.functional import execute as compute

    (name,) = machine.parse_phases([phase])
    return compute(layer, name.value, config_of(config))


def trace_of(trace: TraceOrPath) -> Trace:
    """The trace itself, or the one in the file of that path.

    Raises:
        TraceError: it is neither, or cannot be read.
    """
    if isinstance(trace, Trace):
        return trace
    if isinstance(trace, str | os.PathLike):
        return load(trace)
    raise TraceError(
        f"trace must be a workloads.Trace or the path of a trace file, got {type(trace).__name__}"
    )


def config_of(config: ConfigOrName) -> Config:
    """The design itself, or the one of that name or in the file of that path.

    Raises:
        ConfigError: it is neither, or cannot be read.
    """
    if isinstance(config, Config):
        return config
    if isinstance(config, str | os.PathLike):
        return load_config(config if isinstance(config, str) else Path(config))
    raise ConfigError(
        "config must be a gscn_sim.Config, the name of a preset or the path of a TOML file, "
        f"got {type(config).__name__}"
    )


def phase_names(phases: Phases) -> list[str]:
    """The names in ``"dgrad"``, ``"dgrad,wgrad"`` or a list.

    Raises:
        ConfigError: it is none of them.
    """
    if isinstance(phases, str):
        return [name.strip() for name in phases.split(",")]
    if isinstance(phases, Iterable):
        return [str(name) for name in phases]
    raise ConfigError(f"phases must be names or None, got {type(phases).__name__}")
