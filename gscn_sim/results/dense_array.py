"""The dense array: the same multipliers, clock and memory without sparsity, at its bound.

Each product takes a slot and each tensor passes memory once. No dense array with these multipliers
is faster, so what sparsity buys is at least what a comparison with it says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gscn_sim.config import Config
from gscn_sim.units import ceil_div
from workloads import LayerShape, Phase


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseBound:
    """Cycles that the multipliers and the memory need at least; the longer of them is the bound."""

    array_cycles: int
    memory_cycles: int

    @property
    def cycles(self) -> int:
        """The bound."""
        return max(self.array_cycles, self.memory_cycles)


def dense_bound(macs: int, read_elements: int, write_elements: int, config: Config) -> DenseBound:
    """Best case of a convolution or matrix product whose operands have so many elements."""
    each = config.pe.value_bytes
    return DenseBound(
        array_cycles=ceil_div(macs, config.num_pes * config.multipliers),
        memory_cycles=config.memory_cycles((read_elements + write_elements) * each),
    )


def dense_layer(shape: LayerShape, phase: Phase, batch_size: int, config: Config) -> DenseBound:
    """Best case of one phase of a layer on a whole batch."""
    shape, batch_size = shape.for_batch(batch_size)
    elements = {
        "activation": batch_size * math.prod(shape.activation_shape),
        "gradient": batch_size * math.prod(shape.gradient_shape),
        "weight": math.prod(shape.weight_shape),
    }
    return dense_bound(
        batch_size * shape.dense_macs,
        elements[phase.stationary] + elements[phase.streamed],
        elements[phase.result],
        config,
    )
