"""A whole training step on the machine, on the same array without sparsity, and on a GPU."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gscn_sim.config import Config
from gscn_sim.errors import ConfigError
from gscn_sim.results.record import facts_of_layer
from gscn_sim.results.timeline import Timeline
from gscn_sim.run.simulate import prepare
from gscn_sim.step.headline import headline, step_cautions
from gscn_sim.step.link import link_bytes
from gscn_sim.step.machine import (
    BOUND,
    SCALAR,
    MachineStep,
    ReadyPhase,
    TimedOperation,
    dense_step,
    sparse_step,
)
from workloads import Phase, Trace, TraceError
from workloads.step import Step
from workloads.step_file import known_step

if TYPE_CHECKING:
    import pandas as pd

    from gscn_sim.run.memo import Cache
    from gscn_sim.run.simulate import Progress

Deploy = Literal["standalone", "coprocessor"]
DEPLOY: tuple[Deploy, ...] = ("standalone", "coprocessor")
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
        link_seconds: time on the link of a co-processor, not overlapped; else 0.
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
    link_seconds: float
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
        stalled while something is asked for and rows are opened, pins turned or refreshed.
        """
        import pandas as pd

        to_seconds = 1 / (self.config.array.clock_ghz * 1e9)
        return pd.DataFrame(
            {
                "resource": name,
                **{f"{what}_seconds": cycles * to_seconds for what, cycles in use.items()},
            }
            for name, use in self.on_machine.uses.items()
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
        if self.deploy == "standalone":
            return frame
        backward = (frame["phase"] == "backward") & frame["kind"].isin(["convolution", "resprop"])
        ours = frame[(frame["machine"] == "gscn") & backward]
        kept = frame[(frame["machine"] == "gpu") & ~(backward & (frame["kind"] == "convolution"))]
        link = pd.DataFrame(
            [
                {
                    "machine": "gscn",
                    "phase": "backward",
                    "kind": "other",
                    "operation": "link",
                    "seconds": self.link_seconds,
                    "limited_by": "link",
                }
            ]
        )
        both = pd.concat([kept.assign(machine="gscn"), ours, link], ignore_index=True)
        return pd.concat([both, frame[frame["machine"] == "gpu"]], ignore_index=True)

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
        return {name: cycles * to_seconds for name, cycles in self.on_machine.bounds.items()}

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
        if not self.config.policy.overlap:
            notes.append("operations do not overlap and nothing is fetched ahead of its operation")
        return notes


def simulate_step(
    trace: Trace,
    config: Config,
    *,
    step: Step | None = None,
    batch_size: int | None = None,
    gpu: str | None = "gtx-1080ti",
    precision: str | None = None,
    deploy: Deploy = "standalone",
    link_gbps: float = 64.0,
    cache: Cache | None = None,
    progress: Progress | None = None,
    timeline: str | Path | None = None,
    iterations: Collection[int] | None = None,
) -> StepRun:
    """Run a whole training step.

    Args:
        step: its operations; those in the trace by default, else those of a well-known network of
            the trace's name and batch size.
        batch_size: samples; the step's own if it is given or in the trace, else the trace's.
        gpu, precision: what to compare with (None: nothing).
        deploy: ``standalone``: all of it here; ``coprocessor``: the GPU keeps all but the backward
            convolutions, whose operands and results cross a link of ``link_gbps`` 10^9 bytes a
            second; operations do not overlap then.
        timeline: file to write a trace-event timeline of the step to.
        iterations: those of the trace to run; all by default.

    Raises:
        TraceError: there is no step. StepMismatchError: it is not the trace's, or it has an
            operation without a rule.
        ConfigError: an unknown way to deploy, or a co-processor without a GPU.
    """
    if deploy not in DEPLOY:
        raise ConfigError(f"deploy must be one of {', '.join(DEPLOY)}, got {deploy!r}")
    if deploy == "coprocessor" and gpu is None:
        raise ConfigError("a co-processor needs a GPU beside it, got none")
    if link_gbps <= 0:
        raise ConfigError(f"link_gbps must be above 0, got {link_gbps}")
    found = _step_of(trace, step, batch_size)
    table, energy = _on_gpu(found, gpu, precision)  # an unknown device is refused before the work
    if deploy == "coprocessor":
        config = config.replace(policy={"overlap": False})
    ready = _iterations(trace, found, config, cache, progress, iterations)
    recorder = None
    if timeline is not None:
        recorder = Timeline(clock_ghz=config.array.clock_ghz, num_pes=config.num_pes)
    on_machine, records = sparse_step(found, ready, config, recorder)
    if recorder is not None and timeline is not None:
        recorder.save(timeline)
    facts = trace.metadata()
    return StepRun(
        config=config,
        network=trace.network,
        batch_size=found.batch_size,
        deploy=deploy,
        gpu=gpu if precision is None else f"{gpu}:{precision}",
        on_machine=on_machine,
        on_dense=dense_step(found, config),
        gpu_operations=table,
        gpu_energy_j=energy,
        link_seconds=link_bytes(records, config) / (link_gbps * 1e9),
        trace={**facts, "digest": trace.digest},
        cautions=step_cautions(records, facts, gpu, precision, table),
    )


def _step_of(trace: Trace, step: Step | None, batch_size: int | None) -> Step:
    found = step or trace.step
    if found is None:
        found = known_step(trace.network, batch_size or trace.batch_size)
    if batch_size not in (None, found.batch_size):
        raise TraceError(
            f"the step of {found.network} is of batch {found.batch_size}, not {batch_size}"
        )
    return found


def _phases(trace: Trace, step: Step) -> list[Phase]:
    """Phases that the trace has masks for and the step has operations of, in the enum's order."""
    recorded = {phase for layer in trace.layers for phase in layer.phases()}
    in_step = {operation.layer_phase for operation in step.operations}
    return [phase for phase in Phase if phase in recorded and phase in in_step]


def _iterations(
    trace: Trace,
    step: Step,
    config: Config,
    cache: Cache | None,
    progress: Progress | None,
    wanted_iterations: Collection[int] | None,
) -> list[dict[tuple[str, Phase], ReadyPhase]]:
    """The layer-phases of each recorded iteration; a layer without it is as it last was."""
    wanted = _phases(trace, step)
    found: dict[int, dict[tuple[str, Phase], ReadyPhase]] = defaultdict(dict)
    every: dict[tuple[str, Phase], ReadyPhase] = {}
    for layer, phase, prepared in prepare(
        *(trace, config, wanted),
        batch_size=step.batch_size,
        cache=cache,
        progress=progress,
        iterations=wanted_iterations,
    ):
        ready = ReadyPhase(prepared=prepared, facts=facts_of_layer(layer, step.batch_size))
        found[layer.iteration][layer.name, phase] = ready
        every.setdefault((layer.name, phase), ready)
    iterations = []
    for _, its_own in sorted(found.items()):
        every = {**every, **its_own}
        iterations.append(every)
    return iterations or [{}]


def _on_gpu(
    step: Step, gpu: str | None, precision: str | None
) -> tuple[pd.DataFrame | None, float]:
    """The ordinary step on a GPU, and its energy."""
    if gpu is None:
        return None, float("nan")
    from gscn_sim.gpu import GpuError, predict_step, step_energy_j

    table = predict_step(step.without("resprop"), device=gpu, precision=precision)
    try:
        return table, step_energy_j(table, gpu, precision)
    except GpuError:  # nobody measured this device's energy
        return table, float("nan")
