"""Configurations from presets, TOML files and ``key=value`` overrides."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from gscn_sim.config.sections import Config
from gscn_sim.errors import ConfigError
from workloads.errors import did_you_mean, reason

_SECTIONS = {f.name: f.default_factory for f in dataclasses.fields(Config) if f.name != "name"}


def preset_names() -> list[str]:
    """Names of the designs that ship with the package."""
    folder = resources.files("gscn_sim.presets")
    return sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith("toml"))


def dram_preset_names() -> list[str]:
    """Names of the memories that ship with the package, for ``dram.preset``."""
    folder = resources.files("gscn_sim.presets").joinpath("dram")
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
        flat = _merge(layer, flat)
        tables = {} if base is None else _read_preset(base)
    parsed = {k: parse_value(v) if isinstance(v, str) else v for k, v in (overrides or {}).items()}
    return _build(name, _merge(flat, parsed))


def parse_value(text: str) -> Any:
    """Read an override's text as TOML, or as a plain string if it is none."""
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return table["value"] if len(table) == 1 else text  # more keys: it had several lines


def flatten_config(config: Config) -> dict[str, Any]:
    """``section.key`` -> value for every key, in the order of the sections."""
    flat = {}
    for section in _SECTIONS:
        for key, value in dataclasses.asdict(getattr(config, section)).items():
            flat[f"{section}.{key}"] = value
    return flat


def dump_toml(config: Config) -> str:
    """The full configuration as TOML that :func:`load_config` reads back."""
    lines = []
    for section in _SECTIONS:
        lines.append(f"[{section}]")
        for key, value in dataclasses.asdict(getattr(config, section)).items():
            text = str(value).lower() if isinstance(value, bool) else repr(value)
            lines.append(f"{key} = {text}".replace("'", '"'))
        lines.append("")
    return "\n".join(lines)


def _read_source(source: str | Path) -> tuple[str, dict[str, Any]]:
    path = Path(source)
    named = isinstance(source, str) and source in preset_names()  # whatever lies in the folder
    if named or (path.suffix != ".toml" and not path.is_file()):
        return str(source), _read_preset(str(source))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a TOML file: {reason(error)}") from None
    try:
        return path.stem, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def _read_preset(name: object) -> dict[str, Any]:
    if name not in preset_names():
        allowed = ", ".join(preset_names())
        raise ConfigError(
            f"unknown preset {name!r}; presets are {allowed}, or name a .toml file"
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
                f"{name}: {section} must be a table; tables are {', '.join(_SECTIONS)}"
            )
    return flat


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    if "dram.preset" in above:  # a named memory replaces every key set for another one
        below = {key: value for key, value in below.items() if not key.startswith("dram.")}
    return {**below, **above}


def _build(name: str, flat: dict[str, Any]) -> Config:
    dram_preset = flat.pop("dram.preset", None)
    if dram_preset is not None:
        if dram_preset not in dram_preset_names():
            raise ConfigError(
                f"dram.preset must be one of {', '.join(dram_preset_names())}; got {dram_preset!r}"
            )
        file = resources.files("gscn_sim.presets").joinpath("dram", f"{dram_preset}.toml")
        table = tomllib.loads(file.read_text(encoding="utf-8"))
        flat = {**{f"dram.{key}": value for key, value in table.items()}, **flat}
    values: dict[str, dict[str, Any]] = {section: {} for section in _SECTIONS}
    for key, value in flat.items():
        section, _, field_name = key.partition(".")
        if section not in _SECTIONS:
            raise ConfigError(
                f"unknown key {key!r}; sections are {', '.join(_SECTIONS)}{_near(key)}"
            )
        allowed = [f.name for f in dataclasses.fields(_SECTIONS[section])]  # type: ignore[arg-type]
        if field_name not in allowed:
            raise ConfigError(
                f"unknown key {key!r}; keys of {section} are {', '.join(allowed)}{_near(key)}"
            )
        values[section][field_name] = value
    sections = {s: _SECTIONS[s](**values[s]) for s in _SECTIONS}  # type: ignore[operator]
    return Config(name=name, **sections)


def _near(key: str) -> str:
    return did_you_mean(key, flatten_config(Config()))
