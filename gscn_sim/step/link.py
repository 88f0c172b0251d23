"""What crosses the link between a GPU and GSCN beside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from gscn_sim.config import Config
from gscn_sim.results.record import PhaseRecord
from workloads import Phase


def link_bytes(every: Sequence[PhaseRecord], config: Config) -> float:
    """Compressed activations and deltas, weights there and dense gradients back, of a step."""
    records: dict[tuple[str, Phase], list[PhaseRecord]] = defaultdict(list)
    for record in every:
        records[record.layer, record.phase].append(record)
    entry = config.pe.value_bytes + config.pe.index_bits / 8
    each = config.pe.value_bytes
    total = 0.0
    for (_, phase), found in records.items():
        shape, batch = found[0].shape, found[0].batch_size
        a_size = _size(shape.activation_shape) * batch
        g_size = _size(shape.gradient_shape) * batch
        weights = _size(shape.weight_shape)
        if phase is Phase.WGRAD:
            total += sum((r.activation_density or 0) * a_size * entry for r in found) / len(found)
            total += sum((r.gradient_density or 0) * g_size * entry for r in found) / len(found)
            total += each * weights  # dW back
        if phase is Phase.DGRAD:
            total += each * (weights + a_size)  # W there, dA back
    return total


def _size(shape: Sequence[int]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size
