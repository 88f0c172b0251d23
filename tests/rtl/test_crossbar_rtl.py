"""The crossbar in hardware (``rtl/``) against the kernel's rule: cycles, steps and sums.

Needs Verilator. ``make test`` builds two designs, ``make rtl`` all of them (``RTL_DESIGNS=all``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from gscn_sim.kernels.crossbar import run_crossbar

RTL = Path(__file__).parents[2] / "rtl"
PRODUCTS, BANKS, ENTRIES, TILES = 9, 6, 4, 500
FEW = [(8, 2, 1), (2, 3, 3)]  # queue depth, write ports, adder stages
ALL = [(depth, ports, 1) for depth in (0, 2, 4, 8) for ports in (1, 2, 3)]
ALL += [(0, 1, 3), (2, 3, 3), (4, 2, 4), (8, 2, 3)]
DESIGNS = ALL if os.environ.get("RTL_DESIGNS") == "all" else FEW
Tile = list[list[tuple[int, int, int]]]  # steps of products: bank, address, value

pytestmark = pytest.mark.skipif(shutil.which("verilator") is None, reason="needs Verilator")


def build(folder: Path, depth: int, ports: int, adder_stages: int) -> Path:
    """A program that runs tiles through the crossbar in hardware."""
    sizes = {"PRODUCTS": PRODUCTS, "BANKS": BANKS, "ENTRIES": ENTRIES}
    parameters = {**sizes, "DEPTH": depth, "PORTS": ports, "ADDER_STAGES": adder_stages}
    bits = {"BANK_BITS": (BANKS - 1).bit_length(), "ADDRESS_BITS": (ENTRIES - 1).bit_length()}
    defines = " ".join(f"-D{name}={value}" for name, value in {**sizes, **bits}.items())
    command = ["verilator", "--cc", "--exe", "--build", "-Wall", "-Wno-DECLFILENAME"]
    command += [f"-G{name}={value}" for name, value in parameters.items()]
    command += ["-CFLAGS", f"-O0 {defines}", "-MAKEFLAGS", "OPT_FAST=-O0 OPT_GLOBAL=-O0"]
    command += ["--Mdir", str(folder), "--top-module", "crossbar"]
    command += [str(RTL / name) for name in ("crossbar.sv", "bank.sv", "crossbar_bench.cpp")]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "Vcrossbar"


def random_tiles(seed: int) -> list[Tile]:
    """Tiles of few and many products, spread out or crowded on some banks and sums."""
    random = np.random.default_rng(seed)
    tiles = []
    for _ in range(TILES):
        banks, entries = random.integers(1, BANKS + 1), random.integers(1, ENTRIES + 1)
        density = random.uniform(0.05, 1.0)
        tile = []
        for _ in range(random.integers(1, 40)):
            number = int(random.binomial(PRODUCTS, density))
            draws = (random.integers(0, high, number) for high in (banks, entries, 1000))
            tile.append(list(zip(*(draw.tolist() for draw in draws), strict=True)))
        tiles.append(tile)
    return tiles


@pytest.mark.parametrize(("depth", "ports", "adder_stages"), DESIGNS)
def test_hardware_takes_the_cycles_of_the_rule(
    depth: int, ports: int, adder_stages: int, tmp_path: Path
) -> None:
    program = build(tmp_path / "built", depth, ports, adder_stages)
    tiles = random_tiles(100 * depth + 10 * ports + adder_stages)
    given = []
    for tile in tiles:
        given.append(str(len(tile)))
        for step in tile:
            given.append(" ".join(map(str, [len(step), *(x for product in step for x in product)])))
    lines = subprocess.run(
        [program], input="\n".join(given), capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert len(lines) == len(tiles)
    for tile, line in zip(tiles, lines, strict=True):
        times, _, sums = line.partition("|")
        products = [product for step in tile for product in step]
        began = np.zeros(len(tile), np.int64)
        cycles = run_crossbar(
            np.cumsum([0, *map(len, tile)]),
            np.array([bank for bank, _, _ in products], np.int64),
            np.array([address for _, address, _ in products], np.int64),
            BANKS,
            ENTRIES,
            depth,
            ports,
            adder_stages,
            began,
        )
        assert [int(x) for x in times.split()] == [cycles, *began.tolist()]
        expected: Counter[tuple[int, int]] = Counter()
        for bank, address, value in products:
            expected[bank, address] += value
        flat = [int(x) for x in sums.split()]
        found = {(b, a): v for b, a, v in zip(*[iter(flat)] * 3, strict=True)}
        assert found == {key: value for key, value in expected.items() if value}
