"""Each package imports only what its floor allows; heavy libraries stay where they belong."""

from __future__ import annotations

import ast
import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("workloads", "gscn_sim", "resprop_train")
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


def test_every_folder_with_modules_is_a_package_to_install() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    included = config["options.packages.find"]["include"].split()
    assert sorted(included) == sorted(f"{package}*" for package in PACKAGES)
    for _, path in modules():
        assert (path.parent / "__init__.py").exists(), f"{path.parent} has no __init__.py"
