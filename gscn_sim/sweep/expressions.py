"""Expressions over the values of a design, for constraints and derived keys.

``num_pes * multipliers <= 3584`` and ``on_chip_bytes <= 12.6 MB`` are such expressions. They are
evaluated by simpleeval after a look at what they consist of: numbers, arithmetic on them,
comparisons, the functions and names listed here and keys of a design; texts only to be compared.
Length, powers and the size of every number on the way are bounded.
"""

from __future__ import annotations

import ast
import functools
import math
import operator
import re
from collections.abc import Callable, Mapping
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
MAX_LENGTH = 1000
MAX_BITS = 1100
"""Of whole numbers, also those on the way: as many as the largest float has, and some."""
MAX_DIGITS = 30
Number = int | float


def _numbers(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, for numbers only and of results that are not too large."""

    def checked(*values: Any) -> Any:
        for value in values:
            if not isinstance(value, Number):
                raise TypeError(f"numbers are wanted, got {value!r:.40}")
        return _bounded(function(*values))

    return checked


def _bounded(value: Any) -> Any:
    if not isinstance(value, Number):  # a power of a negative number, for one
        raise TypeError("no real number")
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise OverflowError("a number is too large")
    return value


def _power(base: Number, exponent: Number) -> Any:
    if isinstance(base, int) and base.bit_length() * abs(exponent) > MAX_BITS:
        base = float(base)  # which overflows by itself
    return base**exponent


def _shift_left(value: int, bits: int) -> int:
    if bits > MAX_BITS:
        raise OverflowError("a number is too large")
    return value << bits


def _round(value: Number, digits: int = 0) -> Any:
    if abs(digits) > MAX_DIGITS:
        raise OverflowError(f"round to at most {MAX_DIGITS} digits")
    return round(value, digits) if digits else round(value)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": min,
    "max": max,
    "abs": abs,
    "round": _round,
    "int": int,
    "ceil": math.ceil,
    "floor": math.floor,
    "sqrt": math.sqrt,
    "log2": math.log2,
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: _numbers(function) for name, function in _FUNCTIONS.items()
}
_ARITHMETIC: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.LShift: _shift_left,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
}
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    **{kind: _numbers(function) for kind, function in _ARITHMETIC.items()},
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_SHAPES = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Load)
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
_KEYS = {
    field.name: tuple(f.name for f in fields(field.default_factory))  # type: ignore[arg-type]
    for field in fields(Config)
    if field.name != "name"
}
_QUANTITY = re.compile(rf"(\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)\s*({'|'.join(UNITS)})\b")
_READ_BY = {
    "num_pes": {"array"},
    "multipliers": {"pe"},
    "total_multipliers": {"array", "pe"},
    "on_chip_bytes": {"array", "pe", "buffer"},
    "peak_macs_per_second": {"array", "pe"},
    "dram_gbps": {"dram"},
    "area_mm2": {"array", "pe", "buffer", "dataflow"},
}
_ERRORS = (
    *(ArithmeticError, TypeError, ValueError, AttributeError, LookupError),
    *(SyntaxError, RecursionError, MemoryError),
)


@dataclass(frozen=True, slots=True)
class Expression:
    """One expression, as written."""

    text: str

    def value(self, config: Config) -> Any:
        """Evaluate it for a design: keys as ``pe.accumulator_banks``, and the names of ``names()``.

        Raises:
            SpaceError: it is no expression, or names something that a design does not have.
        """

        def lookup(node: Any) -> Any:
            if node.id in _PROPERTIES:
                return _PROPERTIES[node.id](config)
            return getattr(config, node.id)

        return _evaluated(self.text, None, lookup)

    @property
    def reads_clock(self) -> bool:
        """Whether its value depends on the clock."""
        return any(name in self.text for name in _CLOCK)

    @property
    def sections(self) -> frozenset[str]:
        """The sections of a design that its value depends on."""
        found = {node.id for node in ast.walk(_parsed(self.text)) if isinstance(node, ast.Name)}
        read = [_READ_BY.get(name, {name} & set(_SECTIONS)) for name in found]
        return frozenset().union(*read)


_CLOCK = ("clock_ghz", "peak_macs_per_second")


def formula_value(text: str, known: tuple[str, ...], values: Mapping[str, float]) -> Any:
    """The value of an expression over these names and nothing else.

    Raises:
        SpaceError: it is no such expression.
        ArithmeticError: it has no value for these numbers, as where it divides by 0.
    """
    try:
        return _evaluated(text, known, lambda node: values[node.id])
    except SpaceError as error:
        if isinstance(error.__context__, ZeroDivisionError | OverflowError | ValueError):
            raise ArithmeticError(str(error)) from None
        raise


def formula_tree(text: str, known: tuple[str, ...]) -> ast.expr:
    """What an expression over these names consists of, checked.

    Raises:
        SpaceError: it is no such expression.
    """
    try:
        return _parsed(text, known)
    except _ERRORS as error:
        if isinstance(error, SpaceError):
            raise
        raise SpaceError(f"{_shown(text)}: cannot be evaluated: {one_line(error)[:200]}") from None


def _evaluated(text: str, known: tuple[str, ...] | None, lookup: Callable[[Any], Any]) -> Any:
    try:
        from simpleeval import InvalidExpression, SimpleEval  # type: ignore[import-untyped]
    except ImportError:
        raise SpaceError("expressions need simpleeval (pip install 'gscn-sim[search]')") from None
    evaluator = SimpleEval(operators=_OPERATORS, functions=FUNCTIONS, names=lookup)
    try:
        return evaluator.eval(text, previously_parsed=_parsed(text, known))
    except (InvalidExpression, *_ERRORS) as error:
        if isinstance(error, SpaceError):
            raise
        why = one_line(error)[:200] or type(error).__name__
        raise SpaceError(f"{_shown(text)}: cannot be evaluated: {why}") from None


@functools.lru_cache(maxsize=256)
def _parsed(text: str, known: tuple[str, ...] | None = None) -> ast.expr:
    """What an expression consists of, checked.

    Raises:
        SpaceError: it is too long, or names something other than ``known`` (None: what a design
            has).
        SyntaxError, ValueError, RecursionError, MemoryError: it is no expression.
    """
    if len(text) > MAX_LENGTH:
        raise SpaceError(f"{_shown(text)}: must be at most {MAX_LENGTH} characters, is {len(text)}")
    tree = ast.parse(_QUANTITY.sub(_plain_number, text.strip()), mode="eval")
    for node in ast.walk(tree):
        _check(node, text, known)
    return tree.body


def _check(node: ast.AST, text: str, known: tuple[str, ...] | None) -> None:
    match node:
        case ast.Attribute(value=ast.Name(id=section), attr=key) if (
            known is None and section in _SECTIONS
        ):
            if key not in _KEYS[section]:
                raise SyntaxError(f"{section} has no key {key!r:.40}")
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in FUNCTIONS:
            pass
        case ast.Constant(value=bool() | int() | float() | str() as value):
            if not isinstance(value, str):
                _bounded(value)
        case ast.Name(id=name):
            allowed = (*_PROPERTIES, *_SECTIONS) if known is None else known
            if name not in (*allowed, *FUNCTIONS):
                there = ", ".join(names() if known is None else known)
                raise SpaceError(f"{_shown(text)}: unknown name {name!r:.40}; there are {there}")
        case ast.operator() | ast.unaryop() | ast.boolop() | ast.cmpop():
            if not isinstance(node, ast.And | ast.Or) and type(node) not in _OPERATORS:
                raise SyntaxError(f"no operator {type(node).__name__}")
        case _ if isinstance(node, _SHAPES):
            pass
        case _:
            raise SyntaxError(f"{type(node).__name__} is not possible here")


def _shown(text: str) -> str:
    return repr(one_line(text) if len(text) <= 100 else f"{one_line(text[:97])}...")


def names() -> list[str]:
    """What an expression may refer to: properties of the whole design and ``section.key``."""
    return [*_PROPERTIES, *(f"{section}.KEY" for section in _SECTIONS)]


def _plain_number(match: re.Match[str]) -> str:
    return f"({match[1]}*{UNITS[match[2]]})"


def _area_mm2(config: Config) -> float:
    from gscn_sim.results.energy import area_mm2

    return area_mm2(config).total
