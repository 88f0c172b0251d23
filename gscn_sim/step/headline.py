"""A whole training step in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gscn_sim.results.cautions import gpu_caution, trace_cautions
from gscn_sim.results.words import duration, factor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    import pandas as pd

    from gscn_sim.results.record import PhaseRecord

HOST_SHARE = 0.1
"""A GPU that waits for its host for more of the step than this is not what is compared."""


def headline(
    step: str,
    *,
    where: str,
    seconds: float,
    speedups: Mapping[str, float],
    cautions: Sequence[str],
) -> str:
    """Say the time of a ``step`` and its speed-ups by machine, the same operations on all sides."""
    others = [f"{factor(times)} than {name}" for name, times in speedups.items()]
    text = (
        f"a whole training step of {step}, on {where}: {duration(seconds)}, "
        f"{' and '.join(others)} at the same operations"
    )
    return text + (f"; mind: {', '.join(cautions)}" if cautions else "")


def step_cautions(
    records: Sequence[PhaseRecord],
    facts: Mapping[str, Any],
    gpu: str | None,
    precision: str | None,
    gpu_operations: pd.DataFrame | None,
) -> tuple[str, ...]:
    """What to mind about the trace, layers the GPU was never measured on, and its host's share."""
    found = trace_cautions(records, facts)
    if gpu is None or gpu_operations is None:
        return tuple(found)
    from gscn_sim.gpu import predict
    from gscn_sim.gpu.layers import sized_frame

    layers = {record.layer: record for record in records}
    frame = sized_frame((record.shape, record.batch_size) for record in layers.values())
    times = predict(frame, device=gpu, precision=precision)
    seconds = times[["forward_ms", "dgrad_ms", "wgrad_ms"]].sum(axis=1)
    notes = zip(seconds.tolist(), times["gpu_note"].tolist(), strict=True)
    return (*found, *gpu_caution(notes), *_host(gpu_operations))


def _host(table: pd.DataFrame) -> list[str]:
    """Whether the GPU's time is in good part its host's."""
    from gscn_sim.gpu.step import WAITING

    share = table.loc[table["operation"] == WAITING, "seconds"].sum() / table["seconds"].sum()
    if share <= HOST_SHARE:
        return []
    return [f"the GPU waits for its host {100 * share:.0f} % of its time"]
