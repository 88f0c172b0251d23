"""A simulation with a GPU beside it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from gscn_sim.config import Config
    from gscn_sim.results.record import PhaseRecord
    from gscn_sim.run.simulate import Simulation

DEFAULT_GPU = "gtx-1080ti"
DEFAULT_GPU_MODEL = "analytical"


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison:
    """What a simulation found, and what a GPU would take for the same layers.

    ``gpu`` None compares with nothing: columns of the GPU are NaN then. ``gpu_model`` is how its
    times are told, ``analytical`` or ``roofline``.
    """

    simulation: Simulation
    gpu: str | None = DEFAULT_GPU
    gpu_model: str = DEFAULT_GPU_MODEL

    @property
    def records(self) -> tuple[PhaseRecord, ...]:
        """One record per recorded iteration, layer and phase."""
        return self.simulation.records

    @property
    def config(self) -> Config:
        """The machine."""
        return self.simulation.config

    @property
    def network(self) -> str:
        """The trace's name of its network."""
        return self.simulation.network

    @property
    def trace_digest(self) -> str:
        """SHA-256 of the trace's metadata and masks."""
        return self.simulation.trace_digest

    @property
    def trace_metadata(self) -> Mapping[str, Any]:
        """What the trace says about the training run it comes from."""
        return self.simulation.trace_metadata

    @property
    def batch_size(self) -> float:
        """Samples of a training iteration; the mean where iterations differ."""
        return self.simulation.batch_size

    @property
    def reuse_sparsity(self) -> float | None:
        """The reuse sparsity that training wanted, 0 to 1."""
        return self.simulation.reuse_sparsity

    @property
    def simpy_share(self) -> float:
        """Part of the simulation's time that the discrete-event fabric took."""
        return self.simulation.simpy_share

    @property
    def recalled(self) -> bool:
        """Whether the cache knew the simulation."""
        return self.simulation.recalled

    @property
    def gpu_name(self) -> str:
        """The GPU and the model of its times in words."""
        return "no GPU" if self.gpu is None else f"{self.gpu} ({self.gpu_model})"

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per layer and phase."""
        from gscn_sim.compare.tables import layer_table

        return layer_table(self)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The network per phase, and the whole backward pass with and without pre-phases."""
        from gscn_sim.compare.tables import summarize

        return summarize(self.table)

    @property
    def headline(self) -> str:
        """Time, speed-ups, useful slots and limit in a sentence, and what it rests on."""
        from gscn_sim.compare.headline import headline

        return headline(
            self.summary, machine=self.config.name, gpu=self.gpu_name, cautions=self.cautions
        )

    @cached_property
    def cautions(self) -> list[str]:
        """What the trace and the GPU model leave to mind, in words."""
        from gscn_sim.results.cautions import gpu_caution, trace_cautions

        found = trace_cautions(self.records, self.trace_metadata)
        if self.gpu is None or self.gpu_model == "roofline":  # it claims no measurement
            return found
        known = self.table[self.table["gpu_seconds"].notna()].groupby("layer", sort=False)
        seconds, notes = known["gpu_seconds"].sum(), known["gpu_note"].first()
        pairs = zip(seconds.tolist(), notes.tolist(), strict=True)
        return [*found, *gpu_caution(pairs)]

    def __repr__(self) -> str:
        """A few lines: what ran, and what came out."""
        layers = len(dict.fromkeys(record.layer for record in self.records))
        phases = ", ".join(dict.fromkeys(str(record.phase) for record in self.records))
        return (
            f"<{type(self).__name__} of {self.network} on {self.config.name}, "
            f"batch {self.batch_size:g}: {layers} layers, {phases}\n"
            f" {self.headline}\n"
            " .summary: a row per phase, .table: a row per layer and phase>"
        )
