"""Named parts that can be added from outside: ours by name, others' by entry points."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from gscn_sim.errors import ConfigError
from workloads.errors import one_line

Part = TypeVar("Part")


class Registry(Generic[Part]):
    """Parts of one kind by name, each loaded when it is first asked for.

    Args:
        what: the kind of part, for error messages.
        group: entry-point group under which installed packages add parts.
        ours: name -> ``module:object`` of the parts that come with this package.
        kind: ``module:class`` that every part is an instance of; imported for others' parts only.
    """

    def __init__(self, what: str, group: str, ours: Mapping[str, str], kind: str) -> None:
        self.what = what
        self.group = group
        self._ours = dict(ours)
        self._kind = kind
        self._added: dict[str, Part] = {}
        self._found: dict[str, Part] = {}

    def names(self) -> tuple[str, ...]:
        """All names: ours first, then those of installed packages and added ones, in order."""
        others = sorted({*self._entry_points, *self._added} - self._ours.keys())
        return (*self._ours, *others)

    @property
    def was_added_to(self) -> bool:
        """Whether this process added a part: one whose code nobody else can tell."""
        return bool(self._added)

    def packages(self) -> frozenset[str]:
        """Top-level packages or modules of installed parts that are not ours."""
        return frozenset(point.module.split(".")[0] for point in self._entry_points.values())

    def add(self, name: str, part: Part) -> None:
        """Add a part for the time that this process runs (a script, a notebook, a test).

        Raises:
            ConfigError: the name is taken, or the part is of another kind or name.
        """
        if name in self.names():
            raise ConfigError(f"{self.what} {name!r} is there already")
        self._check(name, part)
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
            return _imported(self._ours[name])
        if name not in self._entry_points:
            allowed = ", ".join(self.names())
            raise ConfigError(f"unknown {self.what} {name!r}; there are {allowed}")
        point = self._entry_points[name]
        try:
            part = point.load()
        except Exception as error:  # whatever importing somebody's module makes of it
            reason = one_line(str(error)) or type(error).__name__
            raise ConfigError(
                f"{self.what} {name!r} ({point.value}) cannot be loaded: {reason}"
            ) from error
        self._check(name, part)
        return part

    def _check(self, name: str, part: object) -> None:
        """Refuse a part of the wrong kind, or that calls itself something else."""
        kind = _imported(self._kind)
        if isinstance(part, type) or not isinstance(part, kind):
            got = part if isinstance(part, type) else type(part)
            given = "the class" if isinstance(part, type) else "a"
            raise ConfigError(
                f"{self.what} {name!r} must be a {kind.__name__} object, got {given} {got.__name__}"
            )
        own = getattr(part, "name", name)
        if own != name:
            raise ConfigError(f"{self.what} {name!r} calls itself {own!r}; both must be the same")

    @functools.cached_property
    def _entry_points(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group)}


def _imported(place: str) -> Any:
    """The object at ``module:object``."""
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)
