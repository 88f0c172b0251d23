"""Each package imports only what its floor allows; heavy libraries stay where they belong."""

from __future__ import annotations

import ast
import configparser
import functools
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("workloads", "gscn_sim", "resprop_train")
# The road through gscn_sim: a module imports from its own floor's package and from lower floors.
FLOORS = (
    ("errors", "units", "files", "version", "stages"),
    ("registry", "toml"),
    ("presets", "data", "config"),
    ("gpu",),
    ("problem",),
    ("kernels",),
    ("mapping",),
    ("dataflows",),
    ("schedule",),
    ("fabric",),
    ("results",),
    ("bounds",),
    ("run",),
    ("compare", "step"),
    ("sweep",),
    ("report",),
    ("api",),
    ("claims",),
    ("cli",),
    ("__main__",),
)
FORBIDDEN_PACKAGES = {
    "workloads": {"gscn_sim", "resprop_train"},
    "gscn_sim": {"resprop_train"},
    "resprop_train": {"gscn_sim"},
}
# Library -> the only places (prefixes of dotted module names) that may import it.
ONLY_IN = {
    "torch": ("resprop_train",),
    "simpy": ("gscn_sim.fabric",),
    "numba": ("gscn_sim.kernels",),
}


def modules() -> list[tuple[str, Path]]:
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append((".".join(parts).removesuffix(".__init__"), path))
    return found


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
    return names


def test_there_are_modules_to_look_at() -> None:
    assert {name.split(".")[0] for name, _ in modules()} == set(PACKAGES)


@pytest.mark.parametrize(("module", "path"), [pytest.param(m, p, id=m) for m, p in modules()])
def test_imports_respect_the_floors(module: str, path: Path) -> None:
    package = module.split(".")[0]
    roots = {name.split(".")[0] for name in imports(path)}
    assert not roots & FORBIDDEN_PACKAGES[package], f"{module} imports a package above it"
    for library, allowed in ONLY_IN.items():
        if library in roots:
            assert any(module == a or module.startswith(a + ".") for a in allowed), (
                f"{module} imports {library}, which belongs to {', '.join(allowed)}"
            )


@functools.cache
def gscn_imports() -> frozenset[tuple[str, str]]:
    """(importer, imported) of the modules of gscn_sim, wherever in a module the import stands."""
    known = {module for module, _ in modules()}
    found = set()
    for module, path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {(module, alias.name) for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = (f"{node.module}.{alias.name}" for alias in node.names)
                found |= {(module, name if name in known else node.module) for name in names}
    return frozenset(pair for pair in found if all(name.startswith("gscn_sim.") for name in pair))


def room(module: str) -> str:
    """The package, or the module at the top, that a module of gscn_sim is of."""
    return module.split(".")[1]


def test_every_room_has_a_floor() -> None:
    placed = [name for floor in FLOORS for name in floor]
    assert len(placed) == len(set(placed))
    ours = {module for module, _ in modules() if module.startswith("gscn_sim.")}
    assert {room(module) for module in ours} == set(placed)


def test_nothing_inside_gscn_sim_imports_upwards() -> None:
    level = {name: number for number, floor in enumerate(FLOORS) for name in floor}
    upwards = {
        (importer, imported)
        for importer, imported in gscn_imports()
        if room(importer) != room(imported) and level[room(importer)] <= level[room(imported)]
    }
    assert not upwards, "imports from its own floor or above it"


def test_no_modules_import_each_other_in_a_circle() -> None:
    below: dict[str, set[str]] = {}
    for importer, imported in gscn_imports():
        below.setdefault(importer, set()).add(imported)
    try:
        tuple(graphlib.TopologicalSorter(below).static_order())
    except graphlib.CycleError as error:
        pytest.fail(f"circle: {' -> '.join(reversed(error.args[1]))}")


def test_every_folder_with_modules_is_a_package_to_install() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    included = config["options.packages.find"]["include"].split()
    assert sorted(included) == sorted(f"{package}*" for package in PACKAGES)
    for _, path in modules():
        assert (path.parent / "__init__.py").exists(), f"{path.parent} has no __init__.py"
