"""Whole-number arithmetic on cycles and bytes."""

from __future__ import annotations


def ceil_div(numerator: int, denominator: int) -> int:
    """Smallest int not below ``numerator / denominator`` (denominator positive)."""
    return -(-numerator // denominator)
