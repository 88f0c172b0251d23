"""A discrete-event model of GSCN, a sparse convolution accelerator, and the GPU beside it."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

__all__ = ["Run", "execute", "load_config", "simulate", "verify"]

# Three of these functions are named like the module they live in.
_HOMES = {
    "Run": "gscn_sim.simulate",
    "execute": "gscn_sim.execute",
    "load_config": "gscn_sim.config",
    "simulate": "gscn_sim.simulate",
    "verify": "gscn_sim.verify",
}


def __getattr__(name: str) -> Any:
    # Looked up late, so that importing the package costs nothing.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


class _Package(ModuleType):
    """Keeps the functions when Python, after importing their module, puts it under its name."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _HOMES and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
