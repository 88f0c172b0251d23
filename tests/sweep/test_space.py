from __future__ import annotations

import pytest

from gscn_sim.config import load_config
from gscn_sim.errors import ConfigError
from gscn_sim.sweep import Choices, Expression, Space, parse_param, read_space
from gscn_sim.sweep.errors import SpaceError


def space(*params: str, constraints: tuple[str, ...] = (), **changes) -> Space:
    return Space(
        axes=tuple(parse_param(text) for text in params),
        constraints=tuple(Expression(text) for text in constraints),
        **changes,
    )


def test_the_grid_is_every_combination_last_axis_fastest():
    points = list(space("pe.accumulator_banks=16,32", "array.clock_ghz=1.0,2.0").grid())
    assert [tuple(point.values()) for point in points] == [
        (16, 1.0),
        (16, 2.0),
        (32, 1.0),
        (32, 2.0),
    ]


def test_a_design_is_what_load_config_makes():
    made = space("pe.accumulator_banks=16,32", base="scnn").design({"pe.accumulator_banks": 32})
    assert made == load_config("scnn", {"pe.accumulator_banks": 32})


def test_presets_and_memories_are_axes_too():
    both = space("config=gscn,scnn", "dram.preset=ddr4-2400,gddr5x-484")
    made = both.design({"config": "scnn", "dram.preset": "gddr5x-484"})
    assert made == load_config("scnn", {"dram.preset": "gddr5x-484"})


def test_derived_keys_keep_the_number_of_multipliers():
    iso_peak = space(
        "pe.streamed_vector=2,4,8",
        derived=(
            ("array.pe_rows", Expression("3584 // (16 * pe.streamed_vector * 4)")),
            ("array.pe_cols", Expression("16")),
        ),
    )
    for params in iso_peak.grid():
        made = iso_peak.design(params)
        assert made.num_pes * made.multipliers == 3584


def test_constraints_choose():
    chosen = space(
        "array.pe_rows=7,14,28",
        constraints=("total_multipliers <= 3584", "on_chip_bytes <= 12.6 MB"),
    )
    allowed = [p["array.pe_rows"] for p in chosen.grid() if chosen.allows(chosen.design(p))]
    assert allowed == [7, 14]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12.6 MiB", 12.6 * 2**20),
        ("2KiB + 1", 2049),
        ("1e3 kB", 1e6),
        ("num_pes * multipliers", 3584),
        ("pe.accumulator_banks if num_pes > 1 else 0", 32),
        ("max(array.pe_rows, array.pe_cols)", 16),
        ("dram_gbps > 400 and pe.bank_hash != 'nope'", True),
        ("round(area_mm2) > 0", True),
        ("2**10 == 1024 and 2 ** -1 == 0.5 and 4 ** 0.5 == 2", True),
        ("1 << 10", 1024),
        ("-(num_pes % 10)", -4),
        ("round(2.345, 2)", 2.35),
        ("not (num_pes == 1 or pe.bank_hash == 'nope')", True),
    ],
)
def test_expressions(text, value):
    assert Expression(text).value(load_config("gscn-ideal")) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nope < 1", "unknown name 'nope'; there are num_pes"),
        ("pe.nope < 1", "cannot be evaluated"),
        ("num_pes <", "cannot be evaluated"),
        ("num_pes", "must be true or false, not 224"),
        ("num_pes / 0 > 1", "cannot be evaluated: division by zero"),
        ("__import__('os').getpid() > 0", "cannot be evaluated"),
        ("().__class__.__bases__ == 1", "cannot be evaluated"),
        ("9**9**9 > 1", "cannot be evaluated"),
        ("'a' * 10**9 == 1", "cannot be evaluated"),
        ("[x for x in num_pes] == 1", "cannot be evaluated"),
        ("open('x') == 1", "cannot be evaluated"),
        ("(" * 300 + "1" + ")" * 300 + " > 0", "cannot be evaluated"),
        ("", "cannot be evaluated"),
        ("num_pes = 64", "cannot be evaluated"),
        ("3999999**3999999 > 1", "cannot be evaluated"),
        ("2**-9999999 > 1 or 3**1e300 > 1", "cannot be evaluated"),
        ("1 << 99999999 > 1", "a number is too large"),
        ("round(7, -999999999) > 1", "at most 30 digits"),
        ("'%01500000000d' % 1 == 1", "numbers are wanted, got '%01500000000d'"),
        ("'a' + 'b' == 'ab'", "numbers are wanted"),
        ("(1).to_bytes(999999999) == 1", "is not possible here"),
        ("num_pes.to_bytes(9) == 1", "is not possible here"),
        ("pe.bank_hash.upper() == 'XOR'", "is not possible here"),
        ("pe.__class__ == 1", "pe has no key '__class__'"),
        ("int('9' * 9) == 1", "numbers are wanted"),
        ("+".join("1" * 600) + " > 1", "must be at most 1000 characters, is 1203"),
        ("-" * 100_000 + "1 > 1", "must be at most 1000 characters"),
        ("-" * 900 + "1 > 1", "cannot be evaluated"),
        ("9" * 900 + " > 1", "a number is too large"),
        ("lambda: 1", "Lambda is not possible here"),
        ("(a := 3) > 1", "is not possible here"),
        ("f'{num_pes}' == '1'", "is not possible here"),
        ("min(*[1, 2]) > 1", "is not possible here"),
        ("max(1, 2, key=abs) > 1", "is not possible here"),
        ("{1: 2}[1] == 2", "is not possible here"),
        ("(-2) ** 0.5 > 1", "no real number"),
        ("1 if num_pes > 1e400 else sqrt(-1)", "cannot be evaluated"),
        ("num_pes < 300; num_pes > 1", "cannot be evaluated"),
        ("num_pes < 300\nnum_pes > 1", r"300\\\\nnum_pes > 1': cannot be evaluated"),
    ],
)
def test_bad_constraints_are_found_before_anything_runs(text, message, survived):
    with pytest.raises(SpaceError, match=message):
        space("pe.accumulator_banks=16", constraints=(text,))
    survived("hostile", "expressions", refused=1)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (("pe.acumulator_banks=16",), "unknown key 'pe.acumulator_banks'; near it: pe.accumulator"),
        (("nonsense=1",), "unknown key 'nonsense'"),
        (("pe.accumulator_banks=16,0",), "must be a positive int, got 0"),
        (("pe.accumulator_banks=0:8",), "must be a positive int, got 0"),
        (("pe.accumulator_banks=1.5",), "must be a positive int, got 1.5"),
        (("pe.bank_hash=xor,nope",), "pe.bank_hash must be one of"),
        (("config=gscn,nope",), "unknown preset 'nope'"),
        (("dram.preset=nope",), "dram.preset must be one of"),
        (("pe.bank_hash=xor", "pe.bank_hash=modulo"), "pe.bank_hash: set more than once"),
    ],
)
def test_bad_axes_are_found_before_anything_runs(params, message):
    with pytest.raises((SpaceError, ConfigError), match=message):
        space(*params)


def test_a_value_that_only_fits_another_axis_is_left_to_the_points():
    both = space("dram.row_bytes=2048,1056", "dram.burst_bytes=32,96", "dram.interleave_bytes=1056")
    same = {"dram.interleave_bytes": 1056}
    assert (
        both.design({"dram.row_bytes": 1056, "dram.burst_bytes": 96, **same}).dram.row_bytes == 1056
    )
    with pytest.raises(ConfigError, match=r"dram\.row_bytes must be a multiple"):
        both.design({"dram.row_bytes": 2048, "dram.burst_bytes": 96, **same})


def test_a_grid_has_a_limit():
    big = Space(
        axes=tuple(
            Choices(key=key, options=tuple(range(1, 1002)))
            for key in ("pe.accumulator_banks", "array.pe_rows")
        )
    )
    with pytest.raises(SpaceError, match=r"1,002,001 points, at most 1,000,000"):
        big.grid_size()


def test_a_space_file(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text(
        """
        config = "scnn"
        traces = ["a.npz"]
        batch = [16, 128]
        constraints = ["num_pes <= 64"]
        [axes]
        "pe.accumulator_banks" = [16, 32]
        pe.bank_queue_depth = { min = 0, max = 4 }
        [axes.array]
        clock_ghz = { min = 0.5, max = 1.0, count = 2 }
        [derived]
        array.pe_cols = "64 // array.pe_rows"
        """
    )
    document, axes = read_space(path)
    assert document["config"] == "scnn"
    assert document["batch"] == [16, 128]
    assert document["derived"] == {"array.pe_cols": "64 // array.pe_rows"}
    assert {axis.key: axis.values() for axis in axes} == {
        "pe.accumulator_banks": (16, 32),
        "pe.bank_queue_depth": (0, 1, 2, 3, 4),
        "array.clock_ghz": (0.5, 1.0),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("axes = 3", "axes must be a table"),
        ("[axs]", "unknown key 'axs'; there are axes"),
        ("not toml", "not valid TOML"),
        ("constraints = [3]", "an expression must be a text, got 3"),
        ("[axes]\n'pe.x' = {min = 1}", "a range has min, max"),
    ],
)
def test_bad_space_files(tmp_path, text, message):
    path = tmp_path / "space.toml"
    path.write_text(text)
    with pytest.raises(SpaceError, match=message):
        read_space(path)


def test_a_missing_or_binary_file_is_named(tmp_path):
    with pytest.raises(SpaceError, match=r"none\.toml: cannot be read"):
        read_space(tmp_path / "none.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpaceError, match=r"b\.toml: cannot be read"):
        read_space(tmp_path / "b.toml")
