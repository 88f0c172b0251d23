"""Declaring and checking the fields of a configuration section."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from gscn_sim.errors import ConfigError
from workloads.records import shown

SIZE_LIMIT = 1 << 48


def count(default: int, help: str, *, minimum: int = 1, maximum: int = SIZE_LIMIT) -> Any:
    """An int field between ``minimum`` and ``maximum``."""
    return dataclasses.field(
        default=default, metadata={"help": help, "minimum": minimum, "maximum": maximum}
    )


def real(default: float, help: str, *, minimum: float, maximum: float) -> Any:
    """A float field between ``minimum`` and ``maximum``."""
    return dataclasses.field(
        default=default, metadata={"help": help, "minimum": minimum, "maximum": maximum}
    )


def choice(default: str, help: str, *allowed: str) -> Any:
    """A str field with one of the ``allowed`` values."""
    return dataclasses.field(default=default, metadata={"help": help, "allowed": allowed})


def named(default: str, help: str, names: Callable[[], tuple[str, ...]]) -> Any:
    """A str field with one of the names that parts are registered under."""
    return dataclasses.field(default=default, metadata={"help": help, "allowed": names})


def allowed_values(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """What a str field may be."""
    allowed = metadata["allowed"]
    found: tuple[str, ...] = allowed() if callable(allowed) else allowed
    return found


def switch(default: bool, help: str) -> Any:
    """A bool field."""
    return dataclasses.field(default=default, metadata={"help": help})


def check_fields(section: Any, prefix: str) -> None:
    """Check every field of a section against its declaration.

    Raises:
        ConfigError: naming the key, what is allowed and what was given.
    """
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        key = f"{prefix}.{field.name}"
        kind = str(field.type)
        if kind == "int":
            _check_int(key, value, field.metadata)
        elif kind == "float":
            _check_float(section, field.name, key, value, field.metadata)
        elif kind == "bool":
            if not isinstance(value, bool):
                raise ConfigError(f"{key} must be true or false, got {shown(value)}")
        elif not isinstance(value, str) or (
            value != field.default and value not in allowed_values(field.metadata)
        ):
            allowed = ", ".join(allowed_values(field.metadata))
            raise ConfigError(f"{key} must be one of {allowed}; got {shown(value)}")


def _check_int(key: str, value: object, metadata: Any) -> None:
    low, high = metadata["minimum"], metadata["maximum"]
    kind = {0: "a non-negative int", 1: "a positive int"}.get(low, f"an int of at least {low}")
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ConfigError(f"{key} must be {kind}, got {shown(value)}")
    if value > high:
        raise ConfigError(f"{key} must be at most {high}, got {shown(value)}")


def _check_float(section: Any, name: str, key: str, value: object, metadata: Any) -> None:
    low, high = metadata["minimum"], metadata["maximum"]
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or (isinstance(value, float) and not math.isfinite(value))
    ):
        raise ConfigError(f"{key} must be a number between {low} and {high}, got {shown(value)}")
    if not low <= value <= high:
        raise ConfigError(f"{key} must be a number between {low} and {high}, got {shown(value)}")
    object.__setattr__(section, name, float(value))
