"""Configurations from presets, TOML files and ``key=value`` overrides."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from gscn_sim.config.overrides import flatten, make_sections, merge, parsed
from gscn_sim.config.sections import SECTIONS, Config
from gscn_sim.errors import ConfigError
from gscn_sim.toml import TomlError, read_toml
from workloads.errors import did_you_mean, one_line
from workloads.records import shown


def preset_names() -> list[str]:
    """Names of the designs that ship with the package."""
    folder = resources.files("gscn_sim.presets")
    return sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith("toml"))


def load_config(source: str | Path = "gscn", overrides: Mapping[str, Any] | None = None) -> Config:
    """Build a configuration from a preset's name or a TOML file, then apply overrides.

    A file may start with ``preset = "name"`` to change another design. ``dram.preset`` replaces the
    whole memory by a named one; other ``dram`` keys then change it. Overrides are
    ``section.key`` -> value, with values as Python objects or as TOML text.

    Raises:
        ConfigError: naming the key, the value and what is allowed.
    """
    name, tables = _read_source(source)
    flat: dict[str, Any] = {}
    while tables:
        layer = _flatten(tables, name)
        base = layer.pop("preset", None)
        flat = merge(layer, flat)
        tables = {} if base is None else _read_preset(base)
    return Config(name=name, **make_sections(SECTIONS, merge(flat, parsed(overrides))))


def flatten_config(config: Config) -> dict[str, Any]:
    """``section.key`` -> value for every key, in the order of the sections."""
    return flatten(config.sections)


def dump_toml(config: Config) -> str:
    """The full configuration as TOML that :func:`load_config` reads back."""
    lines = []
    for section, made in config.sections.items():
        lines.append(f"[{section}]")
        for key, value in dataclasses.asdict(made).items():
            text = str(value).lower() if isinstance(value, bool) else repr(value)
            lines.append(f"{key} = {text}".replace("'", '"'))
        lines.append("")
    return "\n".join(lines)


def _read_source(source: str | Path) -> tuple[str, dict[str, Any]]:
    path = Path(source)
    named = isinstance(source, str) and source in preset_names()  # whatever lies in the folder
    if named or (path.suffix != ".toml" and (not path.exists() or path.is_dir())):
        return str(source), _read_preset(str(source))
    try:
        return path.stem, read_toml(path)
    except TomlError as error:
        raise ConfigError(f"{path}: {error}") from None


def _read_preset(name: object) -> dict[str, Any]:
    if not isinstance(name, str) or name not in preset_names():
        allowed = ", ".join(preset_names())
        raise ConfigError(
            f"unknown preset {shown(name)}; presets are {allowed}, or name a .toml file"
            f"{did_you_mean(str(name), preset_names())}"
        )
    return tomllib.loads(
        resources.files("gscn_sim.presets").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    )


def _flatten(tables: Mapping[str, Any], name: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for section, table in tables.items():
        if section == "preset":
            flat["preset"] = table
        elif isinstance(table, dict):
            flat.update({f"{section}.{key}": value for key, value in table.items()})
        else:
            raise ConfigError(
                f"{name}: {one_line(section)[:80]} must be a table; "
                f"tables are {', '.join(SECTIONS)}"
            )
    return flat
