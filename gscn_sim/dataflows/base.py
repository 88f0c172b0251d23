"""What a dataflow is: which pairs of non-zeros meet, what that costs, how values flow.

A dataflow is added by one class like those beside this file. Ours are named in
:mod:`gscn_sim.dataflows.registry`; other packages add theirs by an entry point of the group
``gscn_sim.dataflows``. Nothing else has to know of it.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gscn_sim.config.view import key
from gscn_sim.mapping.counts import Counts
from gscn_sim.mapping.deal import ChannelOrder
from gscn_sim.mapping.estimate import EstimatedMachine
from gscn_sim.mapping.plan import Block, Plan
from gscn_sim.problem.geometry import Ints
from gscn_sim.problem.operands import Operands
from workloads import Phase

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class PeTiming:
    """All of a machine's configuration that the cost of a block on a tile depends on."""

    streamed_vector: int = key("pe.streamed_vector")
    stationary_vector: int = key("pe.stationary_vector")
    accumulator_banks: int = key("pe.accumulator_banks")
    bank_queue_depth: int = key("pe.bank_queue_depth")
    bank_hash: str = key("pe.bank_hash")
    index_bits: int = key("pe.index_bits")
    anticipator_vectors: int = key("pe.anticipator_vectors")
    bank_queue_ports: int = key("pe.bank_queue_ports")
    adder_stages: int = key("pe.adder_stages")
    gather_fragments: int = key("pe.gather_fragments")
    visits_per_cycle: int = key("pe.visits_per_cycle")
    group_bubble: int = key("pe.group_bubble")
    list_resend: bool = key("pe.list_resend")
    streamed_fifo_entries: int = key("pe.streamed_fifo_entries")
    barrier: str = key("policy.barrier")
    drift: str = key("policy.drift")

    def __post_init__(self) -> None:
        if not self.list_resend:  # FIFOs do not matter here: designs with others share costs
            object.__setattr__(self, "streamed_fifo_entries", 0)

    @property
    def multipliers(self) -> int:
        """F * I."""
        return self.streamed_vector * self.stationary_vector

    @property
    def run_limit(self) -> int:
        """Longest zero run that needs no placeholder, plus one."""
        return 1 << self.index_bits

    @property
    def is_ideal(self) -> bool:
        """Whether nothing inside a PE takes more cycles than the steps and the banks do."""
        waits = self.bank_queue_ports, self.gather_fragments, self.visits_per_cycle
        return not any((*waits, self.group_bubble)) and self.adder_stages == 1

    @property
    def by_channel(self) -> bool:
        """Whether PEs wait for each other between the channels of an accumulator group."""
        return self.barrier == "input_channel" or self.drift == "fifo"


@dataclass(frozen=True, kw_only=True)
class BlockCosts:
    """Costs of every distinct block on every tile for each recorded sample.

    Attributes:
        row_of: [blocks] the row of the other arrays that each of the plan's ``distinct_blocks``
            has; blocks that cost the same share a row.
        counters: [samples, T, rows, N_COUNTERS].
        stationary_entries, streamed_entries: [samples, T, rows] list entries, placeholders counted.
        plane_entries: [samples, rows] stationary entries of the whole plane where outputs are
            summed and windows of tiles overlap: memory is read once.
        channel_cycles, channel_entries: row -> [samples, T, channels] cycles of each channel and
            [channels] streamed entries that it meets, where PEs wait between channels.
        stationary_reads: [samples, T, rows] entries fetched from the stationary buffer, where
            outputs are summed and that is not each of ``stationary_entries`` once.
        resent_entries: row -> [samples, T, lists] entries of streamed lists that are sent again,
            where lists longer than a FIFO are; where outputs are summed that is of all lists: 1.
    """

    row_of: Ints
    counters: Ints
    stationary_entries: Ints
    streamed_entries: Ints
    plane_entries: Ints
    channel_cycles: dict[int, Ints]
    channel_entries: dict[int, Ints]
    stationary_reads: Ints | None = None
    resent_entries: dict[int, Ints] = field(default_factory=dict)


class Dataflow(ABC):
    """One way to pair non-zeros; stateless, so that one object serves every run.

    Attributes:
        name: as in ``dataflow.wgrad = "..."``.
        phases: phases that it can run.
        is_automatic: whether ``auto`` considers it.
        mapping_kind: the one mapping kind that it knows, or None for any.
        shares_inputs: whether tiles share inputs instead of exchanging a halo of outputs.
    """

    name: str
    phases: frozenset[Phase] = frozenset(Phase)
    is_automatic: bool = False
    mapping_kind: str | None = None
    shares_inputs: bool = False

    @property
    def digest(self) -> str:
        """What tells this dataflow from others."""
        return f"{type(self).__module__}.{type(self).__qualname__}:{self.name}"

    @property
    def is_ours(self) -> bool:
        """Whether its code belongs to this package, so that a change of it is noticed."""
        return type(self).__module__.startswith("gscn_sim.")

    def block_sizes(self, most: int) -> list[int]:
        """Output channels of an accumulator group worth trying, of ``most`` that fit.

        Only asked where outputs are summed; maps take as many as fit.
        """
        return [most]

    def steps(self, plan: Plan, counts: Counts, machine: EstimatedMachine) -> float:
        """Estimated steps of a whole layer-phase with summed outputs, all samples and PEs."""
        raise NotImplementedError(f"{self.name} runs no phase with summed outputs")

    def least_steps(self, plan: Plan, counts: Counts, machine: EstimatedMachine) -> float:
        """Steps that a plan with summed outputs takes at least, quickly; 0 if nothing is known."""
        return 0.0

    def fewest_steps(self, counts: Counts, streamed: int, stationary: int) -> Ints:
        """[samples] steps that no plan is below, with vectors of these lengths, for bounds.

        0 if nothing is known: then bounds know of useful products only.
        """
        return np.zeros(counts.operands.samples, np.int64)

    def largest_unit(self, counts: Counts) -> int:
        """Steps of the largest part of a sample that no plan splits, for bounds; 0: not known."""
        return 0

    def check(self, plan: Plan) -> None:  # noqa: B027  # most have nothing to refuse
        """Refuse a plan that the kernels cannot run.

        Raises:
            ConfigError: saying what is allowed.
        """

    def operands(self, operands: Operands) -> Operands:
        """The operands as this dataflow's machine sees them."""
        return operands

    @abstractmethod
    def costs(
        self, plan: Plan, operands: Operands, timing: PeTiming, blocks: list[Block]
    ) -> BlockCosts:
        """Costs of blocks (no two alike) on all tiles of a plan of one sample.

        ``operands`` have their channels in the order in which the plan deals them. ``row_of`` of
        what is returned counts up: :func:`block_costs` puts in which block shares which row.
        """

    def counted_costs(
        self, plan: Plan, operands: Operands, timing: PeTiming, blocks: list[Block]
    ) -> BlockCosts:
        """:meth:`costs` as if no product waited for a bank, quickly: cycles are at least these.

        Useful products and what is read need not be counted. Here the costs themselves; a dataflow
        that can count steps without forming products does.
        """
        return self.costs(plan, operands, timing, blocks)

    @abstractmethod
    def execute(
        self,
        plan: Plan,
        operands: Operands,
        stationary: Floats,
        streamed: Floats,
        timing: PeTiming,
    ) -> Floats:
        """The phase's result from values in the layouts of ``operands``: the functional mode.

        Every product is formed where :meth:`costs` counts it.

        Returns:
            maps [n, channels, Y, X]; summed outputs [K, C / groups, R, S].
        """


def block_costs(
    dataflow: Dataflow,
    plan: Plan,
    operands: Operands,
    order: ChannelOrder,
    timing: PeTiming,
    counted: bool = False,
) -> BlockCosts:
    """Run a dataflow's kernels for every distinct block of a plan of one sample.

    ``operands`` as the dataflow's machine sees them (:meth:`Dataflow.operands`). ``counted``: the
    quick costs without waiting for banks (:meth:`Dataflow.counted_costs`).
    """
    operands = operands.in_order(order.stationary, order.outputs)
    representatives: list[Block] = []
    rows: dict[object, int] = {}
    row_of = []
    if plan.problem.groups > 1 or (plan.problem.is_reduction and not operands.is_dense):
        representatives = plan.distinct_blocks  # no two see the same patterns
        row_of = list(range(len(representatives)))
    else:
        for block in plan.distinct_blocks:
            content = _content_key(plan, operands, timing, block)
            if content not in rows:
                rows[content] = len(representatives)
                representatives.append(block)
            row_of.append(rows[content])
    costs = dataflow.counted_costs if counted else dataflow.costs
    found = costs(plan, operands, timing, representatives)
    return replace(found, row_of=np.array(row_of, np.int64))


def _content_key(plan: Plan, operands: Operands, timing: PeTiming, block: Block) -> Any:
    """Blocks with equal keys see the same patterns and cost the same.

    With one convolution group every block of a map phase meets the same stationary operand, so
    equal weights (dense ones above all) mean equal cost; summed outputs repeat only if dense.
    """
    absolute = block.o0 % 8 if timing.bank_hash == "dnnsim" else 0
    if plan.problem.is_reduction:
        return (block.o1 - block.o0, block.c1 - block.c0, absolute)
    weights = np.ascontiguousarray(operands.streamed[0, :, :, :, block.o0 : block.o1])
    return (block.o1 - block.o0, absolute, hashlib.sha256(weights.tobytes()).digest())
