"""Small random layers and machines for Hypothesis."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from workloads import Layer, LayerShape, layer_from_arrays

DENSITIES = (0.0, 0.1, 0.3, 0.6, 0.9, 1.0)


@st.composite
def shapes(draw: st.DrawFn, side: int = 6, channels: int = 4) -> LayerShape:
    """Any stride, padding, dilation, grouping and kernel that leaves an output."""

    def pair(low: int, high: int) -> tuple[int, int]:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    groups = draw(st.sampled_from((1, 1, 1, 2, 3)))
    c, k = draw(st.integers(1, channels)), draw(st.integers(1, channels))
    if draw(st.integers(0, 5)) == 0:  # depthwise
        groups, c, k = c, 1, 1
    (h, w), (r, s) = pair(1, side), pair(1, 4)
    stride, padding, dilation = pair(1, 3), pair(0, 3), pair(1, 2)
    assume(h + 2 * padding[0] > dilation[0] * (r - 1))
    assume(w + 2 * padding[1] > dilation[1] * (s - 1))
    return LayerShape(
        C=c * groups,
        H=h,
        W=w,
        K=k * groups,
        R=r,
        S=s,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )


@st.composite
def layers(draw: st.DrawFn, side: int = 6, channels: int = 4, samples: int = 2) -> Layer:
    """A layer with small integers as values; any operand may be all zero or dense."""
    shape = draw(shapes(side, channels))
    n = draw(st.integers(1, samples))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def values(size: tuple[int, ...]) -> np.ndarray:
        mask = generator.random(size) < draw(st.sampled_from(DENSITIES))
        return np.where(mask, generator.choice([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0], size), 0.0)

    return layer_from_arrays(
        "layer",
        activation=values((n, *shape.activation_shape)),
        gradient=values((n, *shape.gradient_shape)),
        weight=values(shape.weight_shape),
        shape=shape,
    )


IDEAL = {
    "pe.bank_queue_ports": 0,
    "pe.adder_stages": 1,
    "pe.gather_fragments": 0,
    "pe.visits_per_cycle": 0,
    "pe.group_bubble": 0,
    "pe.list_resend": False,
}


def rules() -> st.SearchStrategy[dict[str, int]]:
    """Ideal, or any of the rules that a PE can be built by; some still ideal."""
    buildable = st.fixed_dictionaries(
        {
            "pe.bank_queue_ports": st.sampled_from((0, 1, 2, 3, 30)),
            "pe.adder_stages": st.sampled_from((1, 1, 2, 3, 5)),
            "pe.gather_fragments": st.integers(0, 4),
            "pe.visits_per_cycle": st.integers(0, 3),
            "pe.group_bubble": st.integers(0, 2),
            "pe.list_resend": st.booleans(),
        }
    )
    return st.one_of(st.just(IDEAL), buildable)


def _fitting(pe: dict[str, Any], wanted: dict[str, int]) -> dict[str, Any]:
    """A PE with the rules, as far as they go together with the rest of it."""
    depth, ports = pe["pe.bank_queue_depth"], wanted["pe.bank_queue_ports"]
    return {
        **pe,
        **wanted,
        "pe.bank_queue_ports": min(ports, depth + 1) if depth else ports,
        "pe.streamed_fifo_entries": pe["pe.streamed_vector"] + wanted["pe.group_bubble"],
        "pe.gather_fragments": min(wanted["pe.gather_fragments"], pe["pe.stationary_vector"]),
    }


def pe_overrides() -> st.SearchStrategy[dict[str, Any]]:
    """Any PE, ideal or not."""
    return st.builds(_fitting, _shapes_of_pes(), rules())


def _shapes_of_pes() -> st.SearchStrategy[dict[str, Any]]:
    """Vectors, banks (powers of two or not), queues, hashes, index lengths."""
    return st.fixed_dictionaries(
        {
            "pe.streamed_vector": st.integers(1, 5),
            "pe.stationary_vector": st.integers(1, 5),
            "pe.accumulator_banks": st.sampled_from((1, 2, 3, 5, 7, 8, 16, 32)),
            "pe.bank_queue_depth": st.integers(0, 4),
            "pe.bank_hash": st.sampled_from(("modulo", "xor", "channel", "dnnsim")),
            "pe.index_bits": st.sampled_from((1, 2, 3, 4, 8, 32)),
            "pe.anticipator_vectors": st.integers(1, 4),
            "pe.accumulator_entries": st.sampled_from((16, 36, 64, 200, 1024)),
        }
    )


def machine_overrides() -> st.SearchStrategy[dict[str, Any]]:
    """Any machine around such PEs."""
    around = st.fixed_dictionaries(
        {
            "array.pe_rows": st.integers(1, 4),
            "array.pe_cols": st.integers(1, 5),
            "array.clock_ghz": st.sampled_from((0.7, 1.0, 1.582)),
            "pe.stationary_buffer_bytes": st.sampled_from((1, 16, 64, 256, 16384)),
            "buffer.size_bytes": st.sampled_from((1, 64, 512, 1 << 20)),
            "buffer.rounds_ahead": st.integers(1, 4),
            "network.operand_bytes_per_cycle": st.sampled_from((0, 1, 3, 64, 2048)),
            "network.partial_sums_per_cycle": st.integers(1, 3),
            "drain.entries_per_cycle": st.integers(0, 4),
            "drain.staging_rounds": st.integers(1, 8),
            "drain.overlap": st.booleans(),
            "dram.preset": st.sampled_from(
                ("ideal", "gddr5x-484", "ddr4-2400", "ddr4-50", "lpddr4", "hbm2")
            ),
            "dataflow.forward": st.sampled_from(("cartesian", "anticipated", "auto")),
            "dataflow.dgrad": st.sampled_from(("cartesian", "anticipated", "auto")),
            "dataflow.wgrad": st.sampled_from(("cartesian", "anticipated", "positional", "auto")),
            "mapping.kind": st.sampled_from(("auto", "planar", "sample", "channel", "mixed")),
            "mapping.tile_rule": st.sampled_from(("exact", "exact", "padded")),
            "policy.barrier": st.sampled_from(("input_channel", "group", "none")),
            "policy.drift": st.sampled_from(("round", "fifo")),
            "pe.streamed_fifo_entries": st.integers(5, 40),
            "pe.round_latency": st.sampled_from((0, 0, 3)),
            "network.dispatch_latency": st.sampled_from((0, 0, 2)),
            "policy.halo": st.sampled_from(("serial", "overlapped")),
            "policy.load_balance": st.sampled_from(("static", "sorted")),
        }
    )
    return st.builds(lambda a, b: {**a, **b}, pe_overrides(), around)
