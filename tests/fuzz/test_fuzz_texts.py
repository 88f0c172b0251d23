"""Damaged configurations, spaces, tables of layers and --set words: refused, or what they say.

What an accepted file says is read again by other means (``tomllib``, ``csv``): every key must be in
the result with the same value, and no key may have been dropped.
"""

from __future__ import annotations

import csv
import io
import json
import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mutations import HOSTILE, cases, hostile, spoil, spoiled

from gscn_sim.cli import main
from gscn_sim.cli.gpu import _read_table
from gscn_sim.config import Config, load_config
from gscn_sim.config.loader import dump_toml, flatten_config
from gscn_sim.gpu.layers import DEFAULTS, REQUIRED, checked_layers
from gscn_sim.sweep.axes import Choices, parse_param
from gscn_sim.sweep.expressions import Expression
from gscn_sim.sweep.space import Space, read_space
from workloads import GscnError

CONFIG_CASES = cases(1_800)
CONFIG_BYTE_CASES = cases(1_000)
SPACE_CASES = cases(900)
SPACE_BYTE_CASES = cases(500)
TABLE_CASES = cases(900)
TABLE_BYTE_CASES = cases(700)
WORD_CASES = cases(600)


def examples(count: int) -> Any:
    return settings(
        max_examples=count, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
    )


def fuzz_documents(run: Any, path: Path, count: int, documents: Any, check: Any) -> None:
    """Write spoiled documents as TOML and check each."""

    @examples(count)
    @given(documents)
    def case(document: dict[str, Any]) -> None:
        path.write_text(toml(document), encoding="utf-8")
        run(lambda: check(path), lambda: document)

    case()


def fuzz_bytes(run: Any, path: Path, count: int, content: bytes, seed: int, check: Any) -> None:
    """Write a file with some of its bytes spoiled and check each."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        path.write_bytes(spoil(content, generator))
        run(lambda: check(path), path.read_bytes)


def toml(document: dict[str, Any]) -> str:
    """A TOML document; None, which TOML has not, becomes a text."""

    def text(value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, dict):
            return "{" + ", ".join(f"{json.dumps(k)} = {text(v)}" for k, v in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(text, value)) + "]"
        if isinstance(value, int | float):
            return repr(value)
        return json.dumps(str(value))

    return "\n".join(f"{json.dumps(str(k))} = {text(v)}" for k, v in document.items())


def config_is_what_it_says(path: Path) -> bool:
    """Whether an accepted design has every key of the file with its value, and the right types."""
    config = load_config(path)
    says = tomllib.loads(path.read_text(encoding="utf-8"))
    base = says.pop("preset", "gscn")
    held = flatten_config(config)
    told = {f"{s}.{key}": value for s, table in says.items() for key, value in table.items()}
    memory = told.pop("dram.preset", None)
    named = flatten_config(load_config(base, {} if memory is None else {"dram.preset": memory}))
    kinds = {key: type(value) for key, value in flatten_config(Config()).items()}
    return all(
        held[key] == told.get(key, named[key])
        and type(held[key]) is kinds[key]
        and (key not in told or type(told[key]) in (kinds[key], *([int] * (kinds[key] is float))))
        for key in held
    ) and set(told) <= set(held)


def test_configurations(tmp_path: Path, fuzz: Any) -> None:
    full = tomllib.loads(dump_toml(Config()))
    small = {"preset": "scnn", "pe": {"accumulator_banks": 64}, "dram": {"preset": "hbm2"}}
    documents = st.one_of(spoiled(full), spoiled(small))
    run, path = fuzz("config structure", GscnError), tmp_path / "design.toml"
    fuzz_documents(run, path, CONFIG_CASES, documents, config_is_what_it_says)


def test_bytes_of_configurations(tmp_path: Path, fuzz: Any) -> None:
    run, path = fuzz("config bytes", GscnError), tmp_path / "design.toml"
    content = dump_toml(Config()).encode()
    fuzz_bytes(run, path, CONFIG_BYTE_CASES, content, 2, config_is_what_it_says)


SPACE = {
    "config": "scnn",
    "traces": ["a.npz"],
    "batch": [16, 128],
    "constraints": ["num_pes * multipliers <= 3584", "on_chip_bytes <= 12.6 MB"],
    "axes": {
        "pe.streamed_vector": [2, 4, 8],
        "pe.accumulator_banks": {"min": 16, "max": 128, "log": True},
        "array": {"clock_ghz": {"min": 0.8, "max": 1.6, "count": 5}},
    },
    "derived": {"array.pe_rows": "64 // array.pe_cols"},
}


def space_is_what_it_says(path: Path) -> bool:
    """Whether an accepted space has the axes that the file lists, with lists as they stand."""
    document, axes = read_space(path)
    space = Space(
        axes=tuple(axes),
        base=document.get("config", "gscn"),
        derived=tuple((key, Expression(text)) for key, text in document["derived"].items()),
        constraints=tuple(map(Expression, document.get("constraints", ()))),
    )
    designs = space.grid_size()
    for number, params in enumerate(space.grid()):
        if number > 20:
            break
        space.design(params)
    lists = {
        key: spec
        for key, spec in tomllib.loads(path.read_text(encoding="utf-8")).get("axes", {}).items()
        if isinstance(spec, list)
    }
    held = {axis.key: list(axis.options) for axis in axes if isinstance(axis, Choices)}
    return designs == math.prod(len(axis.values()) for axis in axes) and all(
        held.get(key) == values for key, values in lists.items()
    )


def test_spaces(tmp_path: Path, fuzz: Any) -> None:
    run, path = fuzz("space structure", GscnError), tmp_path / "space.toml"
    fuzz_documents(run, path, SPACE_CASES, spoiled(SPACE), space_is_what_it_says)


def test_bytes_of_spaces(tmp_path: Path, fuzz: Any) -> None:
    run, path = fuzz("space bytes", GscnError), tmp_path / "space.toml"
    fuzz_bytes(run, path, SPACE_BYTE_CASES, toml(SPACE).encode(), 3, space_is_what_it_says)


ROWS = [
    dict(zip(REQUIRED, row, strict=True)) | DEFAULTS
    for row in (
        (16, 3, 224, 224, 64, 7, 7, 3, 3, 2, 2),
        (16, 64, 56, 56, 64, 3, 3, 1, 1, 1, 1),
        (8, 512, 7, 7, 512, 1, 1, 0, 0, 1, 1),
    )
]


def table_is_what_it_says(path: Path) -> bool:
    """Whether an accepted table has the sizes that Python's csv reader finds, line by line."""
    layers = checked_layers(_read_table(path))
    text = path.read_text(encoding="utf-8-sig")
    kept = (line for line in io.StringIO(text, newline="") if not line.startswith("#"))
    rows = [row for row in csv.DictReader(kept) if any(v for v in row.values())]
    return len(rows) == len(layers) and all(
        getattr(layers, name)[number] == float(row.get(name) or DEFAULTS[name])
        for number, row in enumerate(rows)
        for name in (*REQUIRED, *DEFAULTS)
    )


def test_tables(tmp_path: Path, fuzz: Any) -> None:
    run = fuzz("table structure", GscnError)
    path = tmp_path / "layers.csv"

    @examples(TABLE_CASES)
    @given(spoiled(ROWS), st.sampled_from([*REQUIRED, "groups", "", "N "]), st.booleans())
    def case(rows: list[Any], name: str, drop: bool) -> None:
        names = [n for n in (*REQUIRED, *DEFAULTS) if not (drop and n == name)]
        with path.open("w", newline="", encoding="utf-8", errors="replace") as file:
            writer = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(row for row in rows if isinstance(row, dict))
        run(lambda: table_is_what_it_says(path), lambda: path.read_text(encoding="utf-8"))

    case()


def test_bytes_of_tables(tmp_path: Path, fuzz: Any) -> None:
    run, path = fuzz("table bytes", GscnError), tmp_path / "layers.csv"
    lines = [",".join(ROWS[0]), *(",".join(map(str, row.values())) for row in ROWS)]
    content = ("\n".join(lines) + "\n").encode()
    fuzz_bytes(run, path, TABLE_BYTE_CASES, content, 4, table_is_what_it_says)


KEYS = [*flatten_config(Config()), "dram.preset", "config", "trace", "batch", "pe", "pe.", ".x", ""]
WORDS = ["1:2", "1:8:log", "8:1", "0:4:0", "1:1e400", "1,2", ",", ":", "1:2:3:4", "true", "-1"]


def test_words(fuzz: Any) -> None:
    """``--set`` and ``--param``, through the command and the parser."""
    run = fuzz("words", GscnError)

    @examples(WORD_CASES)
    @given(
        st.sampled_from(KEYS),
        st.one_of(st.sampled_from(WORDS), hostile.map(str), st.text(max_size=12)),
    )
    def case(key: str, value: str) -> None:
        word = f"{key}={value}"
        result = CliRunner().invoke(main, ["config", "show", "--set", word])
        assert result.exit_code in (0, 2), word
        assert result.exit_code == 0 or len(result.stderr.splitlines()) == 1, word

        def parsed() -> bool:
            axis = parse_param(word)
            return axis.key == key.strip() and len(axis.values()) > 0

        run(parsed, lambda: word)

    case()


@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_overrides_from_python(value: Any, fuzz: Any) -> None:
    """Any object as the value of any key, as ``load_config`` takes it."""
    run = fuzz("overrides", GscnError)
    for key in flatten_config(Config()):

        def case(key: str = key) -> bool:
            held = flatten_config(load_config("gscn-ideal", {key: value}))[key]
            return held == value or isinstance(value, str)

        run(case, lambda key=key: (key, value))
