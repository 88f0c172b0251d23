"""What every importer makes of a file's layers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from workloads.layer import MAX_NAME_LENGTH, Operand
from workloads.shape import LayerShape


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedLayer:
    """A name, a shape and those densities that the file states."""

    name: str
    shape: LayerShape
    densities: dict[Operand, float] = field(default_factory=dict)


def with_own_names(layers: Iterable[ImportedLayer]) -> list[ImportedLayer]:
    """Each layer under a name of its own, at most as long as a trace allows.

    The second ``conv`` becomes ``conv_2``, or the next name that no other layer has; of a long name
    the end stays, which tells modules apart.
    """
    layers = list(layers)
    names = [layer.name[-MAX_NAME_LENGTH:] for layer in layers]
    wanted = set(names)
    taken: set[str] = set()
    named = []
    for layer, name in zip(layers, names, strict=True):
        own, count = name, 1
        while own in taken or (count > 1 and own in wanted):
            count += 1
            mark = f"_{count}"
            own = name[-(MAX_NAME_LENGTH - len(mark)) :] + mark
        taken.add(own)
        named.append(replace(layer, name=own))
    return named
