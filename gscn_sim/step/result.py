"""The result of a training step: every operation on each machine, as tables and a headline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from gscn_sim.config import Config
from gscn_sim.step.coprocessor import BesideGpu
from gscn_sim.step.headline import headline
from gscn_sim.step.machine import BOUND, SCALAR, MachineStep, TimedOperation

if TYPE_CHECKING:
    import pandas as pd

    from gscn_sim.results.node import Range

Deploy = Literal["standalone", "coprocessor"]
COLUMNS = ("machine", "phase", "kind", "seconds", "energy_j", "limited_by")
OPERATION_COLUMNS = (
    *("machine", "phase", "kind", "operation", "module", "how", "seconds", "energy_j"),
    *("dram_bytes", "limited_by", "start_seconds", "end_seconds"),
)


@dataclass(frozen=True, kw_only=True)
class StepRun:
    """A training step on ``gscn``, on the same array ``dense``, and on a ``gpu``.

    Attributes:
        on_machine, on_dense: the step on each array; the dense one runs the ordinary step.
        gpu_operations: ``gscn_sim.gpu.predict_step`` of the ordinary step, or None.
        gpu_energy_j: of the whole step, NaN where the device was not measured.
        beside: the step on the GPU with the machine as its co-processor, or None.
        trace: what is known about the trace, with its digest.
        cautions: what its speed-ups should not be quoted without.
    """

    config: Config
    network: str
    batch_size: int
    deploy: Deploy
    gpu: str | None
    on_machine: MachineStep
    on_dense: MachineStep
    gpu_operations: pd.DataFrame | None
    gpu_energy_j: float
    beside: BesideGpu | None
    trace: Mapping[str, Any] = field(hash=False)
    cautions: tuple[str, ...] = ()

    @property
    def sparse(self) -> tuple[TimedOperation, ...]:
        """Every operation on the machine."""
        return self.on_machine.operations

    @property
    def dense(self) -> tuple[TimedOperation, ...]:
        """Every operation of the ordinary step on the array without sparsity."""
        return self.on_dense.operations

    @cached_property
    def operations(self) -> pd.DataFrame:
        """A row for every operation on every machine.

        ``seconds`` are its share of the step: where operations overlap, each moment is shared
        equally by those in progress. ``start_seconds`` to ``end_seconds`` is when it ran.
        """
        import pandas as pd

        to_seconds = 1 / (self.config.array.clock_ghz * 1e9)
        rows = [
            {
                "machine": machine,
                "phase": o.phase,
                "kind": o.kind,
                "operation": o.name,
                "module": o.module,
                "how": o.how,
                "seconds": o.cycles * to_seconds,
                "energy_j": o.energy_j,
                "dram_bytes": o.dram_bytes,
                "limited_by": o.limited_by,
                "start_seconds": o.start_cycle * to_seconds,
                "end_seconds": o.end_cycle * to_seconds,
            }
            for machine, operations in (("gscn", self.sparse), ("dense", self.dense))
            for o in operations
        ]
        frame = pd.DataFrame(rows)
        if self.gpu_operations is not None:
            other = self.gpu_operations.rename(columns={"moved_bytes": "dram_bytes"})
            other = other.assign(machine="gpu", how="predicted", limited_by="-")
            frame = pd.concat([frame, other], ignore_index=True)
        return frame[list(OPERATION_COLUMNS)]

    @cached_property
    def resources(self) -> pd.DataFrame:
        """Busy, stalled and idle seconds of each resource of the machine; they add up to the step.

        Stalled: it has work and waits. PE array: mean over the PEs. Memory: busy while data moves,
        stalled while something is asked for and rows are opened, pins turned or refreshed. Of a
        co-processor: the GPU, the machine, and both directions of the link.
        """
        import pandas as pd

        to_seconds = 1 / (self.config.array.clock_ghz * 1e9)
        uses = self.on_machine.uses
        if self.beside is not None:
            uses = {
                unit: {"busy": busy, "stalled": 0, "idle": self.beside.cycles - busy}
                for unit, busy in self.beside.busy_cycles.items()
            }
        return pd.DataFrame(
            {
                "resource": name,
                **{f"{what}_seconds": cycles * to_seconds for what, cycles in use.items()},
            }
            for name, use in uses.items()
        )

    @cached_property
    def table(self) -> pd.DataFrame:
        """Seconds and energy by machine, phase and class of operation.

        ``limited_by`` is what limited the operations that took most of a row's time.
        """
        frame = self._deployed
        keys = ["machine", "phase", "kind"]
        rows = []
        for key, group in frame.groupby(keys, sort=False):
            by = group.groupby("limited_by", sort=False)["seconds"].sum()
            rows.append(
                {
                    **dict(zip(keys, key, strict=True)),
                    "seconds": group["seconds"].sum(),
                    "energy_j": group["energy_j"].sum(min_count=1),
                    "limited_by": by.idxmax(),
                }
            )
        import pandas as pd

        return pd.DataFrame(rows)[list(COLUMNS)]

    @cached_property
    def _deployed(self) -> pd.DataFrame:
        """Operations where they run: a co-processor takes the backward convolutions only."""
        import pandas as pd

        frame = self.operations
        if self.beside is None:
            return frame
        to_seconds = 1 / (self.config.array.clock_ghz * 1e9)
        rows = []
        for task in self.beside.tasks:
            o = None if task.operation is None else self.sparse[task.operation]
            rows.append(
                {
                    "machine": "gscn",
                    "phase": "backward" if o is None else o.phase,
                    "kind": "other" if o is None else o.kind,
                    "operation": task.unit if o is None else o.name,
                    "module": "" if o is None else o.module,
                    "seconds": task.share_cycles * to_seconds,
                    "energy_j": o.energy_j if o is not None and task.unit == "gscn" else None,
                    "limited_by": task.unit,
                    "start_seconds": task.start_cycle * to_seconds,
                    "end_seconds": task.end_cycle * to_seconds,
                }
            )
        return pd.concat([pd.DataFrame(rows), frame[frame["machine"] == "gpu"]], ignore_index=True)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Seconds and energy by machine and phase, and of the whole ``step``.

        The GPU's energy is known for the step only.
        """
        import pandas as pd

        frame = self._deployed
        rows: list[dict[str, object]] = []
        for machine in frame["machine"].unique():
            own = frame[frame["machine"] == machine]
            for phase in (*own["phase"].unique(), "step"):
                part = own if phase == "step" else own[own["phase"] == phase]
                energy = part["energy_j"].sum(min_count=1)
                if machine == "gpu":
                    energy = self.gpu_energy_j if phase == "step" else float("nan")
                rows.append(
                    {
                        "machine": machine,
                        "phase": phase,
                        "seconds": part["seconds"].sum(),
                        "energy_j": energy,
                    }
                )
        return pd.DataFrame(rows)

    def seconds(self, machine: str, phase: str = "step") -> float:
        """Time of the whole step, or of one phase, on a machine; NaN if it is not there."""
        found = self.summary.query("machine == @machine and phase == @phase")["seconds"]
        return float(found.iloc[0]) if len(found) else float("nan")

    @property
    def speedup(self) -> dict[str, float]:
        """Same-work speed-ups of the whole step: every operation of it on both sides."""
        ours = self.seconds("gscn")
        others = [m for m in self.summary["machine"].unique() if m != "gscn"]
        return {f"over_{machine}": self.seconds(machine) / ours for machine in others}

    @property
    def headline(self) -> str:
        """Time and same-work speed-ups of the whole step in a sentence, and what it rests on."""
        beside = "" if self.deploy == "standalone" else f"{self.gpu} with "
        names = {"over_gpu": str(self.gpu), "over_dense": "the dense array"}
        speedup = self.speedup
        return headline(
            f"{self.network}, batch {self.batch_size}",
            where=f"{beside}{self.config.name}",
            seconds=self.seconds("gscn"),
            speedups={name: speedup[key] for key, name in names.items() if key in speedup},
            cautions=self.cautions,
        )

    @property
    def bounds_seconds(self) -> dict[str, float]:
        """What no schedule of these operations can beat.

        Each resource's own time, and the longest chain of operations that wait for one another,
        each of them computing and moving what did not exist before.
        """
        to_seconds = 1 / (self.config.array.clock_ghz * 1e9)
        bounds = self.on_machine.bounds
        if self.beside is not None:
            path = {"critical path": self.beside.critical_path_cycles}
            bounds = self.beside.busy_cycles | path
        return {name: cycles * to_seconds for name, cycles in bounds.items()}

    def power_w(self, node_nm: int) -> Range:
        """Mean dynamic power of the machine in a process (``gscn_sim.results.node``)."""
        from gscn_sim.results.node import power_at
        from gscn_sim.results.unit_costs import dram_pj_per_bit

        pj = 8 * dram_pj_per_bit(self.config.dram.kind)
        dram = 1e-12 * pj * sum(o.dram_bytes for o in self.sparse)
        whole = sum(o.energy_j for o in self.sparse)
        seconds = self.on_machine.cycles / (self.config.array.clock_ghz * 1e9)
        return power_at(whole - dram, dram, seconds, node_nm)

    @property
    def left_out(self) -> list[str]:
        """What the times do not contain or only bound, in words."""
        scalars = sum(o.how == SCALAR for o in self.sparse)
        bounds = [o for o in self.sparse if o.how == BOUND]
        notes = []
        if scalars:
            notes.append(f"{scalars} operations on single numbers are not timed")
        if bounds:
            share = sum(o.cycles for o in bounds) / max(1, sum(o.cycles for o in self.sparse))
            notes.append(
                f"{len(bounds)} matrix products and convolutions without masks are at their best "
                f"case ({100 * share:.0f} % of the step)"
            )
        if not self.config.policy.overlap and self.beside is None:
            notes.append("operations do not overlap and nothing is fetched ahead of its operation")
        return notes
