"""One accumulator group on one tile under the positional dataflow."""

from __future__ import annotations

import numpy as np
from oracles.banks import bank_of
from oracles.cartesian import Cost, Entry, Machine, compress
from oracles.queues import Empty, Group, Step, run_queues

from workloads import LayerShape


def positional_group(
    shape: LayerShape,
    activation: np.ndarray,
    gradient: np.ndarray,
    channels: tuple[int, int],
    outputs: tuple[int, int],
    tile: tuple[int, int, int, int],
    machine: Machine,
    row_channels: int,
) -> Cost:
    """Cost of outputs x channels on a tile of the gradient.

    The accumulators hold [outputs, R, S, row_channels]; ``row_channels`` is the widest range of
    input channels that any accumulator group of the plan holds.
    """
    cost = Cost()
    program: list[object] = []
    n_positions = shape.R * shape.S * row_channels
    for p in range(tile[0], tile[1]):
        for q in range(tile[2], tile[3]):
            window: list[Entry] = []
            fragments = 0
            for r in range(shape.R):
                for s in range(shape.S):
                    h = p * shape.stride[0] - shape.padding[0] + r * shape.dilation[0]
                    w = q * shape.stride[1] - shape.padding[1] + s * shape.dilation[1]
                    if 0 <= h < shape.H and 0 <= w < shape.W:
                        bits = [int(activation[c, h, w]) for c in range(*channels)]
                        entries: list[Entry] = [(r, s, c) for c in range(*channels)]
                        pixel = compress(bits, entries, machine.index_bits)
                        fragments += len(range(0, len(pixel), machine.stationary_vector))
                        window += pixel
            bits = [int(gradient[k, p, q]) for k in range(*outputs)]
            along_k = compress(bits, [(0, 0, k) for k in range(*outputs)], machine.index_bits)
            cost.streamed_entries += len(along_k)
            cost.stationary_reads += len(window) if along_k else 0
            program.append(Group(fragments) if window and along_k else Empty())
            for a in range(0, len(window), machine.stationary_vector):
                if machine.fifo and len(along_k) > machine.fifo and a > 0:
                    cost.resent += len(along_k)
                for b in range(0, len(along_k), machine.streamed_vector):
                    step = Step()
                    for i in window[a : a + machine.stationary_vector]:
                        for j in along_k[b : b + machine.streamed_vector]:
                            step.pairs += 1
                            if i is None or j is None:
                                continue
                            step.real_pairs += 1
                            r, s, c = i
                            o = j[2] - outputs[0]
                            position = (r * shape.S + s) * row_channels + c - channels[0]
                            address = o * n_positions + position
                            bank = bank_of(
                                machine.bank_hash,
                                machine.banks,
                                o=o,
                                address=address,
                                channel=o,
                                y=r,
                                x=s,
                            )
                            step.banks.append(bank)
                            step.outputs.append(address)
                    program.append(step)
    outcome = run_queues(program, machine.banks, machine.rules)
    for item in program:
        if not isinstance(item, Step):
            continue
        cost.useful += len(item.banks)
        cost.pairs += item.pairs
        cost.real_pairs += item.real_pairs
    cost.cycles, cost.steps = outcome.cycles, outcome.steps
    cost.wait_cycles = outcome.wait_cycles
    return cost


def stored_entries(
    activation: np.ndarray,
    region: tuple[int, int, int, int],
    channels: tuple[int, int],
    index_bits: int,
) -> int:
    """Entries of a region of the activation kept pixel by pixel, runs along the channels."""
    total = 0
    for y in range(region[0], region[1]):
        for x in range(region[2], region[3]):
            bits = [int(activation[c, y, x]) for c in range(*channels)]
            total += len(compress(bits, [(y, x, c) for c in range(*channels)], index_bits))
    return total
