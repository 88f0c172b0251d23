"""A design space: axes over configuration keys, derived keys, constraints."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gscn_sim.config import Config, load_config
from gscn_sim.config.loader import flatten_config
from gscn_sim.errors import ConfigError
from gscn_sim.results.sizes import Iso, at_size, iso_keys
from gscn_sim.sweep.axes import Axis, Choices, Value, parse_axis
from gscn_sim.sweep.errors import SpaceError
from gscn_sim.sweep.expressions import Expression
from gscn_sim.toml import TomlError, read_toml
from workloads.records import shown

MAX_GRID = 1_000_000
CONFIG_KEY = "config"
Params = dict[str, Value]


@dataclass(frozen=True, kw_only=True)
class Space:
    """The designs that a sweep may look at.

    ``base`` is the preset or file that every design starts from; an axis ``config`` over presets
    and files replaces it. ``derived`` keys are computed, in order, from the design so far; ``iso``
    then brings it to a size.

    Raises:
        SpaceError: an unknown key, a value that no design can have, an expression that cannot be
            evaluated, a key that is set twice.
    """

    axes: tuple[Axis, ...]
    base: str = "gscn"
    fixed: Mapping[str, Value] = dataclasses.field(default_factory=dict)
    derived: tuple[tuple[str, Expression], ...] = ()
    constraints: tuple[Expression, ...] = ()
    iso: tuple[Iso, ...] = ()
    _loaded: dict[str, Config] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        keys = [*(axis.key for axis in self.axes), *(key for key, _ in self.derived)]
        for key in iso_keys(self.iso):
            if key in keys:
                raise SpaceError(f"{key}: set by an axis or derived, and by --iso")
        keys += self.fixed
        for key in keys:
            if keys.count(key) > 1:
                raise SpaceError(f"{key}: set more than once (axis, derived or --set)")
        known = [CONFIG_KEY, "dram.preset", *flatten_config(self._base({}))]
        for key in keys:
            if key not in known:
                raise SpaceError(_unknown_key(key, known))
        for axis in self.axes:
            self._check_values(axis, keys)
        sample = self._base({})
        for key, expression in self.derived:
            _changed(sample, {key: expression.value(sample)})
        for expression in self.constraints:
            _truth(expression, sample)

    def design(self, params: Mapping[str, Value]) -> Config:
        """The design at one point.

        Raises:
            ConfigError: no machine can have this combination of values.
        """
        config = self._base(params)
        for key, expression in self.derived:
            config = _changed(config, {key: expression.value(config)})
        return at_size(config, self.iso)

    def allows(self, config: Config) -> bool:
        """Whether a design meets every constraint."""
        return all(_truth(expression, config) for expression in self.constraints)

    def violations(self, config: Config) -> list[str]:
        """The constraints, as written, that a design does not meet."""
        return [e.text for e in self.constraints if not _truth(e, config)]

    def grid_size(self) -> int:
        """Combinations of all axes' values, before constraints.

        Raises:
            SpaceError: more than a million, or a range whose values nothing lists.
        """
        size = math.prod(len(axis.values()) for axis in self.axes)
        if size > MAX_GRID:
            raise SpaceError(
                f"the grid has {size:,} points, at most {MAX_GRID:,}; "
                "use --search random or nsga2 with a --budget"
            )
        return size

    def grid(self) -> Iterator[Params]:
        """Every combination of the axes' values, the last axis fastest."""
        keys = [axis.key for axis in self.axes]
        for values in itertools.product(*(axis.values() for axis in self.axes)):
            yield dict(zip(keys, values, strict=True))

    def description(self) -> dict[str, Any]:
        """All of it as plain values, the base design in full: equal spaces give equal ones."""
        return {
            "base": flatten_config(self._base({})),
            "axes": [{"kind": type(a).__name__, **dataclasses.asdict(a)} for a in self.axes],
            "derived": {key: expression.text for key, expression in self.derived},
            "constraints": [expression.text for expression in self.constraints],
            **({"iso": [str(each) for each in self.iso]} if self.iso else {}),
        }

    def _base(self, params: Mapping[str, Value]) -> Config:
        values = {**self.fixed, **params}
        source = str(values.pop(CONFIG_KEY, self.base))
        if "dram.preset" in values:  # its order among the dram keys matters
            return load_config(source, values)
        if source not in self._loaded:
            self._loaded[source] = load_config(source)
        return _changed(self._loaded[source], values)

    def _check_values(self, axis: Axis, keys: Sequence[str]) -> None:
        ends = (axis.pick(0.0), axis.pick(1 - 1e-9))
        for value in axis.options if isinstance(axis, Choices) else ends:
            try:
                self._base({axis.key: value})
            except ConfigError as error:
                # A value may be wrong only beside another that is swept too.
                if not any(key in str(error) for key in keys if key != axis.key):
                    raise SpaceError(f"axis {axis.key}: {error}") from None


def read_space(path: str | Path) -> tuple[dict[str, Any], list[Axis]]:
    """Read a space file: its own keys, and its axes.

    Raises:
        SpaceError: it cannot be read, is no TOML, or has other tables than ``axes``, ``derived``,
            ``constraints``, ``config``, ``traces``, ``batch``.
    """
    try:
        document = read_toml(path)
    except TomlError as error:
        raise SpaceError(f"{path}: {error}") from None
    kinds = {
        "axes": dict,
        "derived": dict,
        "constraints": list,
        "config": str,
        "traces": list,
        "batch": list,
    }
    for key, value in document.items():
        if key not in kinds:
            raise SpaceError(f"{path}: unknown key {shown(key)}; there are {', '.join(kinds)}")
        if not isinstance(value, kinds[key]):
            raise SpaceError(f"{path}: {key} must be a {_TOML_NAMES[kinds[key]]}")
    axes = [parse_axis(key, spec) for key, spec in _flat(document.pop("axes", {})).items()]
    document["derived"] = _flat(document.get("derived", {}))
    for text in (*document.get("constraints", ()), *document["derived"].values()):
        if not isinstance(text, str):
            raise SpaceError(f"{path}: an expression must be a text, got {shown(text)}")
    for name in document.get("traces", ()):
        if not isinstance(name, str) or "\0" in name:
            raise SpaceError(f"{path}: a trace must be the path of a file, got {shown(name)}")
    return document, axes


_TOML_NAMES = {dict: "table", list: "list", str: "text"}


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``section.key`` -> axis, whether written with dots in quotes or as nested tables."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping) and not {"min", "max"} & set(value):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _changed(config: Config, values: Mapping[str, Any]) -> Config:
    """The design with some keys replaced; the fast way round files and presets."""
    sections: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = value
    changed = {
        section: dataclasses.replace(getattr(config, section), **fields)
        for section, fields in sections.items()
    }
    return dataclasses.replace(config, **changed)


def _truth(expression: Expression, config: Config) -> bool:
    value = expression.value(config)
    if not isinstance(value, bool):
        raise SpaceError(
            f"{expression.text!r}: a constraint must be true or false, not {shown(value)}"
        )
    return value


def _unknown_key(key: str, known: Sequence[str]) -> str:
    section = key.partition(".")[0]
    near = difflib.get_close_matches(key, known, n=3) or [k for k in known if k.startswith(section)]
    hint = "near it: " + ", ".join(near) if near else "'gscn-sim config show' lists them"
    return f"unknown key {shown(key)}; {hint}"
