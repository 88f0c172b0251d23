"""Designs at equal area, multipliers and bandwidth."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gscn_sim.config import load_config, preset_names
from gscn_sim.errors import ConfigError
from gscn_sim.results.energy import area_mm2
from gscn_sim.results.sizes import (
    at_size,
    design_sizes,
    iso_keys,
    parse_iso,
    scaling_words,
    size_of,
    unlike_sizes,
)


@pytest.mark.parametrize(
    ("rows", "cols", "multipliers", "expected"),
    [
        (14, 16, 16 * 64, (8, 8)),  # 64 PEs, nearest in shape to 14 x 16
        (8, 8, 16 * 100, (10, 10)),
        (8, 8, 16 * 113, (8, 14)),  # 112 PEs, 113 is prime
        (4, 8, 16 * 50, (5, 10)),  # as oblong as it was
        (1, 64, 16 * 3, (1, 3)),  # nothing so small is as oblong
        (2, 2, 31.5, (1, 1)),
    ],
)
def test_arrays_by_hand(rows, cols, multipliers, expected):
    design = load_config("gscn", {"array.pe_rows": rows, "array.pe_cols": cols})
    scaled = at_size(design, parse_iso([f"multipliers={multipliers}"]))
    assert (scaled.array.pe_rows, scaled.array.pe_cols) == expected
    assert scaled.replace(array=design.array) == design  # nothing else changed


@given(
    rows=st.integers(1, 40),
    cols=st.integers(1, 40),
    target=st.floats(5, 500),
    preset=st.sampled_from(["gscn", "scnn", "dense"]),
)
def test_area_is_met_from_below_in_about_the_same_shape(rows, cols, target, preset):
    design = load_config(preset, {"array.pe_rows": rows, "array.pe_cols": cols})
    area = area_mm2(design)
    one = (area.total - area.global_buffer) / design.num_pes
    if one + area.global_buffer > target:
        with pytest.raises(ConfigError, match="one PE and the global buffer take"):
            at_size(design, parse_iso([f"area={target!r}"]))
        return
    scaled = at_size(design, parse_iso([f"area={target!r}"]))
    assert area_mm2(scaled).total <= target * (1 + 1e-6)
    most = math.floor((target - area.global_buffer) / one)
    oblong = scaled.array.pe_cols / scaled.array.pe_rows / (cols / rows)
    square = math.isqrt(most)
    if 0.5 <= cols / rows <= 2 and most >= 4:
        assert 0.499 < oblong < 2.001
        assert scaled.num_pes >= square * square  # which is among the arrays looked at


@pytest.mark.parametrize("preset", preset_names())
@pytest.mark.parametrize("quantity", ["area", "multipliers", "bandwidth_gbs"])
def test_a_design_at_its_own_size_is_itself(preset, quantity):
    design = load_config(preset)
    if quantity == "bandwidth_gbs" and design.dram.kind == "ideal":
        return
    own = size_of(design, quantity)
    assert at_size(design, parse_iso([f"{quantity}={own!r}"])) == design


def test_bandwidth_is_met_by_channels():
    design = load_config("gscn")  # 11 channels of 44 GB/s
    isos = parse_iso(["bandwidth_gbs=200"])
    scaled = at_size(design, isos)
    assert scaled.dram.channels == 4
    assert design_sizes(scaled)["DRAM bandwidth"] == pytest.approx(176)
    assert scaling_words(design, scaled, isos) == (
        "gscn: 4 instead of 11 DRAM channels: DRAM bandwidth 176 of 200 GB/s"
    )
    assert iso_keys(isos) == ["dram.channels"]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["power=3"], "--iso must be one of area=mm2, multipliers=N, bandwidth_gbs=GB/s"),
        (["area"], "--iso area must be a positive number, got ''"),
        (["area=-1"], "positive number, got '-1'"),
        (["area=nan"], "positive number"),
        (["area=inf"], "positive number"),
        (["area=5", "multipliers=4"], "one of area and multipliers"),
        (["area=5", "area=6"], "each quantity once"),
    ],
)
def test_what_is_no_size(texts, message):
    with pytest.raises(ConfigError) as error:
        parse_iso(texts)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("preset", "text", "message"),
    [
        ("gscn", "multipliers=15", "one PE has 16 multipliers"),
        ("gscn", "bandwidth_gbs=43", "one DRAM channel has 44 GB/s"),
        ("dnnsim-scnn", "bandwidth_gbs=43", "an ideal memory has no bandwidth"),
        ("gscn", "area=1e9", "PEs, at most 16,777,216"),
        ("gscn", "bandwidth_gbs=1e9", "dram.channels"),
    ],
)
def test_sizes_that_a_design_cannot_have(preset, text, message):
    with pytest.raises(ConfigError) as error:
        at_size(load_config(preset), parse_iso([text]))
    assert message in str(error.value)


def test_a_word_about_unlike_sizes():
    assert unlike_sizes({"area": 1.009, "multipliers": 1.0}, "B") == ""
    assert unlike_sizes({"area": 2, "multipliers": 1.0}, "B") == (
        "designs of unlike size: B has 2 times the area"
    )
