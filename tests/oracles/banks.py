"""Bank hashes written out."""

from __future__ import annotations


def bank_of(kind: str, banks: int, *, o: int, address: int, channel: int, y: int, x: int) -> int:
    """Bank of an output: ``o`` and ``address`` in the accumulators, the rest absolute."""
    if kind == "modulo":
        return address % banks
    if kind == "xor":
        digits = []  # of the address in base ``banks``
        while banks > 1 and address:
            digits.append(address % banks)
            address = address // banks
        return sum(digits) % banks
    if kind == "channel":
        return (o + 4 * x + 9 * y) % banks
    assert kind == "dnnsim"
    high = ((channel & 4) << 2) ^ ((y & 2) << 3) ^ ((x & 2) << 3)
    low = ((y & 1) << 3) + ((x & 1) << 2) + (channel & 3)
    return (high + low) % banks
