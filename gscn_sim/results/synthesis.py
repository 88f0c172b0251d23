"""Sizes of parts known from synthesis, in thousands of gate equivalents (a NAND2's area).

Measured in Nangate45, scaled to other sizes by the factors that each function states. How far that
may be trusted is said in the page on energy and area.
"""

from __future__ import annotations

from gscn_sim.config import Config
from gscn_sim.config.names import AUTO
from gscn_sim.results.unit_costs import power_law, value


def queue_ports(config: Config) -> int:
    """Write ports of a bank queue: more than it can ever take in a cycle are never built."""
    pe = config.pe
    most = min(pe.bank_queue_depth + 1, pe.multipliers)
    return min(pe.bank_queue_ports or most, most)


def payload_bits(config: Config) -> int:
    """What waits at a bank: a product, and the place of its sum in the bank."""
    pe = config.pe
    places = max(1, pe.accumulator_entries // pe.accumulator_banks)
    return 8 * pe.partial_sum_bytes + (places - 1).bit_length()


def crossbar_kge(config: Config) -> float:
    """Crossbar and bank queues of one PE.

    Measured by ports for one queue. Flip-flops go with depth * payload * banks. All else, which is
    choosing products and writing them, goes with payload * banks, and half of it each with the
    products of a step and with the depth.
    """
    pe = config.pe
    banks = pe.accumulator_banks / value("queue_banks")
    bits = payload_bits(config) / value("queue_payload_bits")
    depth = pe.bank_queue_depth / value("queue_depth")
    products = pe.multipliers / value("queue_products")
    flip_flops = value("flip_flop_ge") / 1000
    flip_flops *= value("queue_depth") * value("queue_payload_bits") * value("queue_banks")
    logic = power_law("queue_kge", queue_ports(config)) - flip_flops
    return banks * bits * (flip_flops * depth + logic * (products + depth) / 2)


def comparators_kge(config: Config) -> float:
    """What the anticipated dataflow compares ranges with, and keeps them in, in one PE.

    A comparison of two vectors is four sums and four comparisons of coordinates, each a ripple of
    full adders. Ranges are kept of as many streamed vectors as the FIFO holds, four coordinates
    each, in flip-flops. Only where some phase is ``anticipated``: ``auto`` never takes it.
    """
    pe = config.pe
    chosen = {config.dataflow.forward, config.dataflow.dgrad, config.dataflow.wgrad} - {AUTO}
    if "anticipated" not in chosen:
        return 0.0
    bits = value("coordinate_bits")
    compared = pe.anticipator_vectors * 8 * bits * value("full_adder_ge")
    vectors = -(-pe.streamed_fifo_entries // pe.streamed_vector)
    return (compared + vectors * 4 * bits * value("flip_flop_ge")) / 1000
