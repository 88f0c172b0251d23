"""ReSprop training in PyTorch, and the recorder that turns it into traces.

``convert`` makes any model train with ReSprop, ``record`` writes a trace of the steps inside a
``with`` block. They are imported when first used, so that importing the package stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resprop_train.capture import Recorder as Recorder
    from resprop_train.capture import record as record
    from resprop_train.conversion import convert as convert
    from resprop_train.conversion import reuse_layers as reuse_layers
    from resprop_train.conversion import revert as revert
    from resprop_train.conversion import set_reuse as set_reuse
    from resprop_train.recipe import Recipe as Recipe
    from resprop_train.trainer import Callback as Callback
    from resprop_train.trainer import Trainer as Trainer

_HOMES = {
    "Callback": "trainer",
    "Recipe": "recipe",
    "Recorder": "capture",
    "Trainer": "trainer",
    "convert": "conversion",
    "record": "capture",
    "reuse_layers": "conversion",
    "revert": "conversion",
    "set_reuse": "conversion",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
