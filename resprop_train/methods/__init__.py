"""Methods that make training sparse, by name: one file each, found by themselves.

Another package adds one with an entry point of the group ``resprop_train.methods`` that names a
:class:`resprop_train.methods.base.Sparsifier`.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points

from resprop_train.errors import TrainError
from resprop_train.methods.base import Sparsifier

DEFAULT = "resprop"


@cache
def methods() -> dict[str, type[Sparsifier]]:
    """All methods by name: those in this folder, then those of other packages."""
    found: dict[str, type[Sparsifier]] = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, Sparsifier) and "name" in vars(value):
                found[value.name] = value
    for entry in entry_points(group="resprop_train.methods"):
        found.setdefault(entry.name, entry.load())
    return dict(sorted(found.items()))


def find_method(name: str) -> type[Sparsifier]:
    """The method of that name.

    Raises:
        TrainError: there is none.
    """
    if name not in methods():
        raise TrainError(f"method must be one of {', '.join(methods())}, got {name!r}")
    return methods()[name]
