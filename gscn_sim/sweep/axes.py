"""One dimension of a space: listed values, or a range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gscn_sim.config.overrides import parse_value
from gscn_sim.sweep.errors import SpaceError
from workloads.errors import one_line
from workloads.records import shown

Value = bool | int | float | str
MAX_VALUES = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """Listed values, in the order given."""

    key: str
    options: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.options:
            raise SpaceError(f"{self.key}: no values")
        for value in self.options:
            if not isinstance(value, Value):
                raise SpaceError(
                    f"{self.key}: a value must be a number, text or bool, not {shown(value)}"
                )
            if isinstance(value, float) and not math.isfinite(value):
                raise SpaceError(f"{self.key}: a number must be finite, not {value}")
        if len(self.options) > MAX_VALUES:
            raise SpaceError(f"{self.key}: {len(self.options)} values; at most {MAX_VALUES}")
        if len(set(map(repr, self.options))) < len(self.options):
            raise SpaceError(f"{self.key}: a value is listed twice")

    def values(self) -> tuple[Value, ...]:
        """The values of a grid."""
        return self.options

    def pick(self, fraction: float) -> Value:
        """The value at a position from 0 to below 1."""
        return self.options[int(fraction * len(self.options))]


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """All numbers from ``low`` to ``high``, both included; whole numbers when both are.

    A grid takes ``count`` of them, or steps of ``step``; a whole range without either gives every
    number, or, with ``log``, ``low`` times every power of two.
    """

    key: str
    low: float
    high: float
    count: int | None = None
    step: float | None = None
    log: bool = False

    def __post_init__(self) -> None:
        if not (_number(self.low) and _number(self.high)):
            raise SpaceError(
                f"{self.key}: a range goes from one number to another, got "
                f"{shown(self.low)} and {shown(self.high)}"
            )
        if self.low > self.high:
            raise SpaceError(f"{self.key}: empty range from {self.low} to {self.high}")
        if self.log and self.low <= 0:
            raise SpaceError(f"{self.key}: a log range must start above 0, got {self.low}")
        if self.count is not None and (not _whole(self.count) or not 1 <= self.count <= MAX_VALUES):
            raise SpaceError(
                f"{self.key}: count must be 1 to {MAX_VALUES}, got {shown(self.count)}"
            )
        if self.step is not None and (
            self.log or self.count is not None or not _number(self.step) or self.step <= 0
        ):
            raise SpaceError(f"{self.key}: step must be positive, without count and log")

    @property
    def whole(self) -> bool:
        """Whether its numbers are ints."""
        return _whole(self.low) and _whole(self.high) and (self.step is None or _whole(self.step))

    @property
    def listed(self) -> bool:
        """Whether only the values of a grid are meant, not all numbers between."""
        return self.count is not None or self.step is not None or (self.log and self.whole)

    def values(self) -> tuple[Value, ...]:
        """The values of a grid.

        Raises:
            SpaceError: it is continuous and neither count nor step says how many, or too many.
        """
        if self.count is not None:
            fractions = [i / max(self.count - 1, 1) for i in range(self.count)]
            return tuple(dict.fromkeys(self._at(fraction) for fraction in fractions))
        if self.log and self.whole:
            doublings = math.floor(math.log2(self.high / self.low) + 1e-9)
            return tuple(int(self.low) << i for i in range(doublings + 1))
        step = self.step or (1 if self.whole else None)
        if step is None:
            raise SpaceError(f"{self.key}: a grid needs count or step for a range of non-ints")
        steps = math.floor((self.high - self.low) / step + 1e-9)
        if steps >= MAX_VALUES:
            raise SpaceError(f"{self.key}: {steps + 1} values; at most {MAX_VALUES}")
        # Twelve digits: 0.1 + 2 * 0.1 is to be 0.3, for people and for equal digests.
        values = (self.low + i * step for i in range(steps + 1))
        return tuple(int(v) if self.whole else float(f"{v:.12g}") for v in values)

    def pick(self, fraction: float) -> Value:
        """The value at a position from 0 to below 1."""
        if self.listed:
            values = self.values()
            return values[int(fraction * len(values))]
        if self.whole:
            return int(self.low) + int(fraction * (int(self.high) - int(self.low) + 1))
        return self._at(fraction)

    def _at(self, fraction: float) -> Value:
        if self.log:
            value = self.low * (self.high / self.low) ** fraction
        else:
            value = self.low + (self.high - self.low) * fraction
        return round(value) if self.whole else float(f"{value:.12g}")


Axis = Choices | Range


def parse_axis(key: str, spec: Any) -> Axis:
    """Read an axis of a space file: a list, or a table with min, max and count, step or log.

    Raises:
        SpaceError: it is neither, or not a sensible one.
    """
    if isinstance(spec, list):
        return Choices(key=key, options=tuple(spec))
    if not isinstance(spec, Mapping):
        return Choices(key=key, options=(spec,))
    unknown = set(spec) - {"min", "max", "count", "step", "log"}
    if unknown or not {"min", "max"} <= set(spec):
        raise SpaceError(
            f"{key}: a range has min, max and may have count, step, log; "
            f"got {one_line(', '.join(spec))[:80]}"
        )
    if not isinstance(spec.get("log", False), bool):
        raise SpaceError(f"{key}: log must be true or false, got {shown(spec['log'])}")
    return Range(
        key=key,
        low=spec["min"],
        high=spec["max"],
        count=spec.get("count"),
        step=spec.get("step"),
        log=spec.get("log", False),
    )


def parse_param(text: str) -> Axis:
    """Read ``key=v1,v2,...``, ``key=low:high``, ``key=low:high:count`` or ``...:log``.

    Raises:
        SpaceError: it is none of these.
    """
    key, equals, spec = (part.strip() for part in text.partition("="))
    if not equals or not key or not spec:
        raise SpaceError(f"--param must be KEY=V1,V2,... or KEY=LOW:HIGH, got {shown(text)}")
    values = [parse_value(part.strip()) for part in spec.split(",")]
    if "" in values:
        raise SpaceError(f"--param {key}: an empty value in {shown(spec)}")
    if len(values) > 1 or ":" not in spec or key in ("trace", "config"):
        return Choices(key=key, options=tuple(values))
    parts = [part.strip() for part in spec.split(":")]
    log = parts[-1] == "log"
    numbers = [parse_value(part) for part in (parts[:-1] if log else parts)]
    if len(numbers) not in (2, 3):
        raise SpaceError(f"--param {key}: a range is LOW:HIGH[:COUNT][:log], got {shown(spec)}")
    count = numbers[2] if len(numbers) == 3 else None
    return Range(key=key, low=numbers[0], high=numbers[1], count=count, log=log)


def _number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1 << 63 if isinstance(value, int) else math.isfinite(value)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
