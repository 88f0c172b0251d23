"""Whole-number arithmetic on cycles and bytes."""

from __future__ import annotations

from fractions import Fraction


def ceil_div(numerator: int, denominator: int) -> int:
    """Smallest int not below ``numerator / denominator`` (denominator positive)."""
    return -(-numerator // denominator)


def exact(value: float) -> Fraction:
    """The decimal number somebody wrote, without its binary rounding."""
    return Fraction(repr(value))
