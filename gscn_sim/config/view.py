"""Views: the part of a configuration that one stage of the work reads, and nothing else.

A stage gets its view instead of the whole configuration. So it cannot read what its view does not
name, and its arguments are all that its result depends on.
"""

from __future__ import annotations

from dataclasses import field, fields
from typing import Any, TypeVar

from gscn_sim.config.sections import Config

View = TypeVar("View")


def key(path: str) -> Any:
    """A field of a view, and the configuration key (``pe.value_bytes``) that it is read from."""
    return field(metadata={"key": path})


def view(kind: type[View], config: Config) -> View:
    """The view of a configuration."""
    found = {}
    for each in fields(kind):  # type: ignore[arg-type]  # a dataclass, as every view is
        section, _, name = each.metadata["key"].partition(".")
        found[each.name] = getattr(getattr(config, section), name)
    return kind(**found)
