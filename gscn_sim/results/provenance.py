"""Where a result came from: versions, the code's own digest, the command."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import platform
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from gscn_sim.config import Config
from gscn_sim.config.loader import flatten_config
from gscn_sim.config.names import DATAFLOWS, MAPPING_KINDS

# What can change a result. Commands, claims, sweeps and reports only carry results around.
_RESULT_FREE = ("cli", "claims", "sweep", "report", "files.py", "provenance.py")
_LIBRARIES = ("numpy", "scipy", "pandas", "numba", "simpy")


def versions() -> dict[str, str]:
    """Version of this package, of Python and of each library that computes."""
    found = {"gscn-sim": _version("gscn-sim"), "python": platform.python_version()}
    return found | {name: _version(name) for name in _LIBRARIES}


@functools.cache
def code_digest() -> str:
    """First 16 hex digits of the SHA-256 over all files that can change a result.

    Among them those of installed packages that add dataflows and mapping kinds.
    """
    digest = hashlib.sha256()
    for name, file in sorted(_files_of_others()):
        digest.update(f"{name}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    for package in ("gscn_sim", "workloads"):
        for name, file in sorted(_files(resources.files(package), package)):
            digest.update(f"{name}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def config_record(config: Config) -> dict[str, Any]:
    """The full configuration, flat, with the name it was loaded under."""
    return {"name": config.name, **flatten_config(config)}


def provenance(trace: dict[str, Any], *, gpu: str | None, command: str | None) -> dict[str, Any]:
    """What a saved table says about its origin beside the configuration; no times, no host."""
    return {
        "command": command,
        "trace": trace,
        "gpu": gpu,
        "versions": versions(),
        "code": code_digest(),
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"


def _files_of_others() -> list[tuple[str, Traversable]]:
    """The files of packages that add parts, without importing them; one that is lost has none."""
    found: list[tuple[str, Traversable]] = []
    for package in DATAFLOWS.packages() | MAPPING_KINDS.packages():
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            for place in spec.submodule_search_locations:
                found += _files(Path(place), package)
        elif spec is not None and spec.origin:
            found.append((package, Path(spec.origin)))
    return found


def _files(folder: Traversable, prefix: str) -> list[tuple[str, Traversable]]:
    found: list[tuple[str, Traversable]] = []
    for entry in folder.iterdir():
        name = f"{prefix}/{entry.name}"
        if entry.name in _RESULT_FREE or entry.name == "__pycache__":
            continue
        if entry.is_dir():
            found.extend(_files(entry, name))
        elif entry.name.endswith((".py", ".toml", ".csv")):
            found.append((name, entry))
    return found
