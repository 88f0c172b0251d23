"""Expressions over the values of a design, for constraints and derived keys.

``num_pes * multipliers <= 3584`` and ``on_chip_bytes <= 12.6 MB`` are such expressions. They are
evaluated by simpleeval, which knows arithmetic, comparisons and the functions named here, and
nothing of Python beyond that.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from gscn_sim.config import Config
from gscn_sim.sweep.errors import SpaceError
from workloads.errors import one_line

UNITS = {
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
}
FUNCTIONS = {
    "min": min,
    "max": max,
    "abs": abs,
    "round": round,
    "int": int,
    "ceil": math.ceil,
    "floor": math.floor,
    "sqrt": math.sqrt,
    "log2": math.log2,
}
_PROPERTIES: dict[str, Callable[[Config], float]] = {
    "num_pes": lambda config: config.num_pes,
    "multipliers": lambda config: config.multipliers,
    "total_multipliers": lambda config: config.num_pes * config.multipliers,
    "on_chip_bytes": lambda config: config.on_chip_bytes,
    "peak_macs_per_second": lambda config: config.peak_macs_per_second,
    "dram_gbps": lambda config: config.dram.peak_gbps,
    "area_mm2": lambda config: _area_mm2(config),
}
_SECTIONS = tuple(field.name for field in fields(Config) if field.name != "name")
_QUANTITY = re.compile(rf"(\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)\s*({'|'.join(UNITS)})\b")
_ERRORS = (ArithmeticError, TypeError, ValueError, AttributeError, LookupError)


@dataclass(frozen=True, slots=True)
class Expression:
    """One expression, as written."""

    text: str

    def value(self, config: Config) -> Any:
        """Evaluate it for a design: keys as ``pe.accumulator_banks``, and the names of ``names()``.

        Raises:
            SpaceError: it is no expression, or names something that a design does not have.
        """
        try:
            from simpleeval import InvalidExpression, SimpleEval  # type: ignore[import-untyped]
        except ImportError:
            raise SpaceError(
                "constraints and derived keys need simpleeval (pip install 'gscn-sim[search]')"
            ) from None

        def lookup(node: Any) -> Any:
            if node.id in _PROPERTIES:
                return _PROPERTIES[node.id](config)
            if node.id in _SECTIONS:
                return getattr(config, node.id)
            raise SpaceError(
                f"{self.text!r}: unknown name {node.id!r}; there are {', '.join(names())}"
            )

        evaluator = SimpleEval(functions=FUNCTIONS, names=lookup)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # simpleeval only warns about a = b and a; b
                return evaluator.eval(_QUANTITY.sub(_plain_number, self.text))
        except (InvalidExpression, SyntaxError, RecursionError, Warning, *_ERRORS) as error:
            if isinstance(error, SpaceError):
                raise
            raise SpaceError(f"{self.text!r}: cannot be evaluated: {one_line(error)}") from None


def names() -> list[str]:
    """What an expression may refer to: properties of the whole design and ``section.key``."""
    return [*_PROPERTIES, *(f"{section}.KEY" for section in _SECTIONS)]


def _plain_number(match: re.Match[str]) -> str:
    return f"({match[1]}*{UNITS[match[2]]})"


def _area_mm2(config: Config) -> float:
    from gscn_sim.results.energy import area_mm2

    return area_mm2(config).total
