"""The bounds of a layer-phase, one after another, each with the reason why it holds.

Another bound is a function here and an entry of ``BOUNDS``: cycles of a :class:`Work` on a
:class:`BoundedMachine`. A test holds them all against simulations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from gscn_sim.bounds.machine import BoundedMachine, Number
from gscn_sim.bounds.work import Work
from gscn_sim.config.names import AUTO


@dataclass(frozen=True, kw_only=True)
class Bound:
    """Cycles that a layer-phase cannot be below, and why."""

    reason: str
    cycles: Callable[[Work, BoundedMachine], Number]


def slots(work: Work, machine: BoundedMachine) -> Number:
    """Useful products on all multipliers."""
    return work.useful / (pes_with_work(work, machine) * machine.multipliers)


def vectors(work: Work, machine: BoundedMachine) -> Number:
    """Steps on all PEs, after the first operand has arrived."""
    steps = steps_of(work, machine)
    alone = steps / pes_with_work(work, machine)
    drain = np.where(machine.drain_overlap, 0, _drain_of_a_pe(work, machine))
    return np.where(alone > 0, machine.latency_cycles, 0) + alone + drain


def unit(work: Work, machine: BoundedMachine) -> Number:
    """Steps of one position, after the first operand has arrived."""
    return work.unit_steps + machine.latency_cycles if work.unit_steps else 0


def drain(work: Work, machine: BoundedMachine) -> Number:
    """Sums that the PEs post-process."""
    return _drain_of_a_pe(work, machine)


def memory(work: Work, machine: BoundedMachine) -> Number:
    """Bytes that memory moves."""
    return machine.dram_cycles(dram_bytes(work, machine))


def network(work: Work, machine: BoundedMachine) -> Number:
    """Bytes that go to the PEs."""
    return machine.network_cycles(network_bytes(work, machine))


BOUNDS: Mapping[str, Bound] = {
    "slots": Bound(reason="each useful product takes a multiplier for a cycle", cycles=slots),
    "vectors": Bound(
        reason="a PE issues one pair of vectors a cycle, and none before a first operand has come "
        "from memory; n entries of a list are ceil(n / length) vectors however a plan cuts it; "
        "without overlap a PE drains its sums in other cycles",
        cycles=vectors,
    ),
    "unit": Bound(
        reason="a position of a map is in one PE, which takes a step for each of its channels",
        cycles=unit,
    ),
    "drain": Bound(reason="each sum leaves its PE once, at the rate of the drain", cycles=drain),
    "dram": Bound(
        reason="each operand is read and each output written at least once, weights that "
        "the global buffer cannot hold once a wave of samples; no faster than the peak bandwidth, "
        "and not during refreshes",
        cycles=memory,
    ),
    "network": Bound(
        reason="each operand is sent to the PEs at least once, weights once a wave of samples",
        cycles=network,
    ),
}


def bounds_of(work: Work, machine: BoundedMachine) -> dict[str, Number]:
    """Every bound by name, in whole cycles."""
    # A billionth less: rounding here never makes a cycle of nothing.
    return {
        name: np.ceil(np.asarray(bound.cycles(work, machine), float) * (1 - 1e-9))
        for name, bound in BOUNDS.items()
    }


def steps_of(work: Work, machine: BoundedMachine) -> Number:
    """Steps of all PEs, at least."""
    return work.steps[machine.streamed_vector, machine.stationary_vector]


def pes_with_work(work: Work, machine: BoundedMachine) -> Number:
    """Most PEs that any plan of the mapping kind can give work to."""
    problem, kind = work.problem, work.dataflow.mapping_kind or machine.mapping_kind
    plane = problem.streamed_plane
    if not problem.is_reduction:  # what is cut is the stationary plane, or the output's if larger
        (y, x), (out_y, out_x) = problem.stationary_plane, problem.output_plane
        plane = max(y, out_y), max(x, out_x)
    most = machine.num_pes
    if kind == "planar" and problem.is_reduction:  # any PE may be dealt any sample's tile
        return np.minimum(most, problem.batch_size * plane[0] * plane[1])
    if kind == "planar":
        return np.minimum(machine.pe_rows, plane[0]) * np.minimum(machine.pe_cols, plane[1])
    if kind == "sample":
        return np.minimum(most, problem.batch_size)
    parts = problem.output_channels
    if problem.is_reduction:
        parts *= problem.stationary_channels // problem.groups
    if kind in (AUTO, "mixed"):
        parts *= problem.batch_size * plane[0] * plane[1]
    elif kind != "channel":
        return most  # somebody else's
    return np.minimum(most, parts)


def waves(work: Work, machine: BoundedMachine) -> Number:
    """Times that all PEs take new samples, at least."""
    batch, kind = work.problem.batch_size, work.dataflow.mapping_kind or machine.mapping_kind
    if kind in ("planar", "channel"):
        return batch
    if kind in (AUTO, "mixed", "sample"):
        return np.ceil(batch / np.minimum(batch, machine.num_pes))
    return 1


def dram_bytes(work: Work, machine: BoundedMachine) -> Number:
    """Bytes read and written at least."""
    entry = machine.entry_bytes
    streamed = streamed_bytes = _streamed_entries(work, machine) * entry
    if not work.problem.is_reduction:
        again = np.where(streamed_bytes > machine.buffer_bytes, waves(work, machine), 1)
        streamed = streamed_bytes * again
    written = work.problem.output_elements * machine.value_bytes
    return work.stationary_entries * entry + streamed + written


def network_bytes(work: Work, machine: BoundedMachine) -> Number:
    """Bytes that go over the broadcast network at least."""
    times = 1 if work.problem.is_reduction else waves(work, machine)
    entries = work.stationary_entries + _streamed_entries(work, machine) * times
    return entries * machine.entry_bytes


def _streamed_entries(work: Work, machine: BoundedMachine) -> int:
    """Of weights none with padded tiles: a whole pass may lie in the padding, and stream none."""
    maps = not work.problem.is_reduction
    return 0 if maps and machine.tile_rule == "padded" else work.streamed_entries


def _drain_of_a_pe(work: Work, machine: BoundedMachine) -> Number:
    return machine.drain_cycles(work.drained_sums / pes_with_work(work, machine))
