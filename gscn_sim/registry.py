"""Named parts that can be added from outside: ours by name, others' by entry points."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from gscn_sim.errors import ConfigError

Part = TypeVar("Part")


class Registry(Generic[Part]):
    """Parts of one kind by name, each loaded when it is first asked for.

    Args:
        what: the kind of part, for error messages.
        group: entry-point group under which installed packages add parts.
        ours: name -> ``module:object`` of the parts that come with this package.
    """

    def __init__(self, what: str, group: str, ours: Mapping[str, str]) -> None:
        self.what = what
        self.group = group
        self._ours = dict(ours)
        self._added: dict[str, Part] = {}
        self._found: dict[str, Part] = {}

    def names(self) -> tuple[str, ...]:
        """All names: ours first, then those of installed packages and added ones, in order."""
        others = sorted({*self._entry_points, *self._added} - self._ours.keys())
        return (*self._ours, *others)

    def add(self, name: str, part: Part) -> None:
        """Add a part for the time that this process runs (a script, a notebook, a test).

        Raises:
            ConfigError: the name is taken.
        """
        if name in self.names():
            raise ConfigError(f"{self.what} {name!r} is there already")
        self._added[name] = part

    def remove(self, name: str) -> None:
        """Take an added part out again."""
        del self._added[name]

    def __getitem__(self, name: str) -> Part:
        """The part of a name.

        Raises:
            ConfigError: there is none, or an installed package's cannot be loaded.
        """
        if name in self._added:
            return self._added[name]
        if name not in self._found:
            self._found[name] = self._load(name)
        return self._found[name]

    def _load(self, name: str) -> Any:
        if name in self._ours:
            module, _, attribute = self._ours[name].partition(":")
            return getattr(import_module(module), attribute)
        if name not in self._entry_points:
            allowed = ", ".join(self.names())
            raise ConfigError(f"unknown {self.what} {name!r}; there are {allowed}")
        point = self._entry_points[name]
        try:
            return point.load()
        except Exception as error:  # whatever importing somebody's module makes of it
            raise ConfigError(
                f"{self.what} {name!r} ({point.value}) cannot be loaded: {error}"
            ) from error

    @functools.cached_property
    def _entry_points(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group)}
