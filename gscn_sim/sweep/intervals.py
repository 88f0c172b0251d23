"""Where a metric can lie if its parts lie in intervals: bounds of expressions."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from gscn_sim.sweep.errors import SpaceError
from gscn_sim.sweep.expressions import formula_tree
from gscn_sim.sweep.metrics import NAMES, PRODUCTS

Number = Any
"""A number, or an array with one of each design."""


class Interval(NamedTuple):
    """From ``low`` to ``high``, both included."""

    low: Number
    high: Number


def exactly(value: Number) -> Interval:
    """An interval of one number."""
    return Interval(value, value)


def metric_interval(metric: str, known: Mapping[str, Interval]) -> Interval:
    """The interval of a metric from those of the metrics that have one.

    Raises:
        SpaceError: it, or a part of it, has none.
    """
    if metric in PRODUCTS:
        metric = " * ".join(PRODUCTS[metric])
    tree = formula_tree(metric, NAMES)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _interval(tree, metric, known)


def _interval(node: ast.expr, metric: str, known: Mapping[str, Interval]) -> Interval:
    match node:
        case ast.Constant(value=int() | float() as value):
            return exactly(float(value))
        case ast.Name(id=name) if name in PRODUCTS:
            return metric_interval(name, known)
        case ast.Name(id=name) if name in known:
            return known[name]
        case ast.Name(id=name):
            raise SpaceError(
                f"no bound exists of {name} (asked for by {metric!r}); there are bounds of "
                f"{', '.join((*known, *PRODUCTS))}"
            )
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            of = _interval(operand, metric, known)
            return Interval(-of.high, -of.low)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            parts = [_interval(each, metric, known) for each in (left, right)]
            return _OPERATIONS[type(op)](*parts)
        case ast.Call(func=ast.Name(id=name), args=args) if name in _RISING and args:
            parts = [_interval(each, metric, known) for each in args]
            low, high = zip(*parts, strict=True)
            return Interval(_RISING[name](*low), _RISING[name](*high))
    raise SpaceError(
        f"no bound exists of {metric!r}: of + - * / ** and "
        f"{' '.join(_RISING)} there is, of {ast.unparse(node)!r} there is not"
    )


def _add(a: Interval, b: Interval) -> Interval:
    return Interval(a.low + b.low, a.high + b.high)


def _subtract(a: Interval, b: Interval) -> Interval:
    return Interval(a.low - b.high, a.high - b.low)


def _multiply(a: Interval, b: Interval) -> Interval:
    return _hull(*(_times(x, y) for x in a for y in b))


def _times(x: Number, y: Number) -> Number:
    """The product; of nothing and no end, nothing, as the end is never reached."""
    return np.where((np.asarray(x) == 0) | (np.asarray(y) == 0), 0.0, np.multiply(x, y))


def _divide(a: Interval, b: Interval) -> Interval:
    around = (np.asarray(b.low) <= 0) & (np.asarray(b.high) >= 0)
    found = _multiply(a, Interval(np.divide(1.0, b.high), np.divide(1.0, b.low)))
    return Interval(np.where(around, -np.inf, found.low), np.where(around, np.inf, found.high))


def _power(a: Interval, b: Interval) -> Interval:
    """Of positive numbers: it rises or falls with each of both."""
    positive = np.asarray(a.low) > 0
    found = _hull(*(np.power(np.where(positive, x, 1.0), y) for x in a for y in b))
    return Interval(np.where(positive, found.low, -np.inf), np.where(positive, found.high, np.inf))


def _hull(*values: Number) -> Interval:
    return Interval(
        np.minimum.reduce(np.broadcast_arrays(*values)),
        np.maximum.reduce(np.broadcast_arrays(*values)),
    )


_OPERATIONS: Mapping[type[ast.operator], Callable[[Interval, Interval], Interval]] = {
    ast.Add: _add,
    ast.Sub: _subtract,
    ast.Mult: _multiply,
    ast.Div: _divide,
    ast.Pow: _power,
}
_RISING: Mapping[str, Callable[..., Number]] = {
    "min": lambda *values: np.minimum.reduce(np.broadcast_arrays(*values)),
    "max": lambda *values: np.maximum.reduce(np.broadcast_arrays(*values)),
    "sqrt": lambda value: np.where(np.asarray(value) >= 0, np.sqrt(np.maximum(value, 0)), -np.inf),
    "log2": lambda value: np.where(
        np.asarray(value) > 0, np.log2(np.maximum(value, 1e-300)), -np.inf
    ),
    "ceil": np.ceil,
    "floor": np.floor,
}
