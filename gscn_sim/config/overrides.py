"""``section.key`` -> value: how single keys of a configuration are changed."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

from gscn_sim.errors import ConfigError
from gscn_sim.toml import TomlError, parse_toml
from workloads.errors import did_you_mean
from workloads.records import shown

MAX_VALUE_LENGTH = 10_000

Sections = Mapping[str, Callable[..., Any]]
"""The class of each section by its name."""


def dram_preset_names() -> list[str]:
    """Names of the memories that ship with the package, for ``dram.preset``."""
    folder = resources.files("gscn_sim.presets").joinpath("dram")
    return sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith("toml"))


def parse_value(text: str) -> Any:
    """Read an override's text as TOML, or as a plain string if it is none."""
    if len(text) > MAX_VALUE_LENGTH:
        raise ConfigError(f"a value must have at most {MAX_VALUE_LENGTH} characters")
    try:
        table = parse_toml(f"value = {text}")
    except TomlError:
        return text
    return table["value"] if len(table) == 1 else text  # more keys: it had several lines


def parsed(overrides: Mapping[str, Any] | None) -> dict[str, Any]:
    """Overrides whose values are Python objects or TOML text, as objects."""
    if not isinstance(overrides, Mapping | None):
        raise ConfigError(
            "overrides must map section.key to a value, as {'pe.accumulator_banks': 64}, "
            f"got {type(overrides).__name__}"
        )
    return {k: parse_value(v) if isinstance(v, str) else v for k, v in (overrides or {}).items()}


def flatten(sections: Mapping[str, Any]) -> dict[str, Any]:
    """``section.key`` -> value for every key of sections that are made."""
    return {
        f"{section}.{key}": value
        for section, made in sections.items()
        for key, value in dataclasses.asdict(made).items()
    }


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """The keys of both; those above count."""
    if "dram.preset" in above:  # a named memory replaces every key set for another one
        below = {key: value for key, value in below.items() if not key.startswith("dram.")}
    return {**below, **above}


def make_sections(sections: Sections, flat: dict[str, Any]) -> dict[str, Any]:
    """Every section from flat keys, the others at their defaults.

    Raises:
        ConfigError: naming the key, the value and what is allowed.
    """
    known = [
        f"{section}.{field.name}"
        for section, make in sections.items()
        for field in dataclasses.fields(make)  # type: ignore[arg-type]
    ]
    flat = dict(flat)
    dram_preset = flat.pop("dram.preset", None)
    if dram_preset is not None:
        if not isinstance(dram_preset, str) or dram_preset not in dram_preset_names():
            raise ConfigError(
                f"dram.preset must be one of {', '.join(dram_preset_names())}; "
                f"got {shown(dram_preset)}"
            )
        file = resources.files("gscn_sim.presets").joinpath("dram", f"{dram_preset}.toml")
        table = tomllib.loads(file.read_text(encoding="utf-8"))
        flat = {**{f"dram.{key}": value for key, value in table.items()}, **flat}
    values: dict[str, dict[str, Any]] = {section: {} for section in sections}
    for key, value in flat.items():
        section, _, field_name = str(key).partition(".")
        if section not in sections:
            raise ConfigError(
                f"unknown key {shown(key)}; sections are {', '.join(sections)}"
                f"{did_you_mean(str(key), known)}"
            )
        allowed = [f.name for f in dataclasses.fields(sections[section])]  # type: ignore[arg-type]
        if field_name not in allowed:
            raise ConfigError(
                f"unknown key {shown(key)}; keys of {section} are {', '.join(allowed)}"
                f"{did_you_mean(str(key), known)}"
            )
        values[section][field_name] = value
    return {section: make(**values[section]) for section, make in sections.items()}
