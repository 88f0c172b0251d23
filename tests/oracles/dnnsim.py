"""The rules of DNNsim's SCNN model, as its description puts them, in loops.

On the activation padded on all sides and rounded up to a multiple of the PE grid.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from oracles.banks import bank_of


@dataclass
class Answer:
    """What that program reports."""

    cycles: int = 0
    useful_products: int = 0
    steps: int = 0
    conflict_slots: int = 0


def simulate(
    activation: np.ndarray,
    weight: np.ndarray,
    *,
    stride: int,
    pad: int,
    grid: int,
    vector_i: int,
    vector_f: int,
    banks: int,
    accumulator_entries: int,
) -> Answer:
    """Forward of [n, C, X, Y] and [K, C / groups, R, S] on grid x grid PEs."""
    samples, c_total, *plane = activation.shape
    k_total, per_group, *kernel = weight.shape
    groups = c_total // per_group
    padded = [size + 2 * pad for size in plane]
    out = [(padded[i] - kernel[i]) // stride + 1 for i in range(2)]
    side = [-(-size // grid) for size in padded]
    held = -(-out[0] // grid) * -(-out[1] // grid)
    at_once = 1 if per_group == 1 and c_total > 1 else accumulator_entries // held
    whole = np.zeros((samples, c_total, side[0] * grid, side[1] * grid), bool)
    whole[:, :, pad : pad + plane[0], pad : pad + plane[1]] = activation != 0
    borders = [(kernel[i] - 1 - pad, side[i], pad) for i in range(2)]
    halo = max(
        borders[0][i] * borders[1][j] for i in range(3) for j in range(3) if (i, j) != (1, 1)
    )
    classes = [(i, j) for i in range(stride) for j in range(stride)]
    answer = Answer()
    for n in range(samples):
        for k0 in range(0, k_total, at_once):
            k1 = min(k0 + at_once, k_total)
            first_channel = k0 // (k_total // groups) * per_group
            for c in range(per_group):
                slowest = 0
                weights = {
                    cls: [
                        (k, r, s)
                        for r in range(kernel[0])
                        for s in range(kernel[1])
                        for k in range(k0, k1)
                        if weight[k, c, r, s] and ((r + pad) % stride, (s + pad) % stride) == cls
                    ]
                    for cls in classes
                }
                for i in range(grid):
                    for j in range(grid):
                        mine = 0
                        for cls in classes:
                            values = [
                                (x, y)
                                for x in range(i * side[0], (i + 1) * side[0])
                                for y in range(j * side[1], (j + 1) * side[1])
                                if whole[n, first_channel + c, x, y]
                                and (x % stride, y % stride) == cls
                            ]
                            for a in range(0, len(values), vector_i):
                                for b in range(0, len(weights[cls]), vector_f):
                                    load: Counter[int] = Counter()
                                    for x, y in values[a : a + vector_i]:
                                        for k, r, s in weights[cls][b : b + vector_f]:
                                            p, q = int((x - r) / stride), int((y - s) / stride)
                                            if 0 <= p < out[0] and 0 <= q < out[1]:
                                                at = bank_of(
                                                    "dnnsim",
                                                    banks,
                                                    o=0,
                                                    address=0,
                                                    channel=k,
                                                    y=p,
                                                    x=q,
                                                )
                                                load[at] += 1
                                    cost = max([1, *load.values()])
                                    mine += cost
                                    answer.steps += 1
                                    answer.useful_products += sum(load.values())
                                    answer.conflict_slots += (cost - 1) * vector_i * vector_f
                        slowest = max(slowest, mine)
                answer.cycles += slowest
            answer.cycles += (k1 - k0) * halo
    return answer
