"""What the machine is given of a step: jobs, what each waits for, and what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gscn_sim.fabric.array import FabricResult
from gscn_sim.schedule.model import Schedule


@dataclass(frozen=True, kw_only=True, slots=True)
class VectorWork:
    """What an operation makes the vector unit do.

    ``elements``: how many the lanes take, over all passes.
    """

    read_bytes: int = 0
    write_bytes: int = 0
    elements: int = 0

    def __post_init__(self) -> None:
        if min(self.read_bytes, self.write_bytes, self.elements) < 0:
            raise ValueError(f"work must not be negative, got {self}")


@dataclass(frozen=True, kw_only=True, slots=True)
class BestCase:
    """Work on the array at its best case: its slots or its bytes, whichever takes longer.

    ``macs`` multiply-adds take ``array_cycles`` with every slot used; each byte moves once.
    """

    macs: int
    array_cycles: int
    read_bytes: int
    write_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrayWork:
    """A schedule for the array, and when its operands may be read ahead.

    Attributes:
        stationary_after, streamed_after: jobs that must be over before the operand is in memory.
        held_bytes: most that it keeps of the global buffer while it runs.
        kept_bytes: of an operand that lies in the global buffer for two jobs one after the other;
            it ``stays`` after the first of them.
    """

    schedule: Schedule
    stationary_after: tuple[int, ...] = ()
    streamed_after: tuple[int, ...] = ()
    held_bytes: int = 0
    kept_bytes: int = 0
    stays: bool = False


Work = ArrayWork | BestCase | VectorWork


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One operation of a step: ``after`` are the jobs, by position, that must be over before."""

    name: str
    work: Work
    after: tuple[int, ...] = ()

    @property
    def on_array(self) -> bool:
        """Whether the PEs have it, and not the vector unit."""
        return not isinstance(self.work, VectorWork)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobResult:
    """What became of a job, in absolute cycles.

    Attributes:
        start_cycle, end_cycle: from when a unit was at it; when all results were in memory.
        stationary_cycle, streamed_cycle: when the operand was first read, -1 if not ahead.
        busy_cycles: of the unit: lanes, or multipliers as a mean over the PEs.
        fabric: what a schedule took, else None.
    """

    start_cycle: int
    end_cycle: int
    busy_cycles: float
    read_bytes: int
    write_bytes: int
    stationary_cycle: int = -1
    streamed_cycle: int = -1
    fabric: FabricResult | None = None

    @property
    def cycles(self) -> int:
        """From its start to its end."""
        return self.end_cycle - self.start_cycle


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """Where a resource's time went: busy, stalled (work there, but waiting), idle. Cycles."""

    busy: float
    stalled: float
    idle: float


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """A step on the machine: its cycles, each job, and each resource's time, which adds up."""

    cycles: int
    jobs: Sequence[JobResult]
    uses: dict[str, Use]
