"""Products of two matrices for each sample and head on the machine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

import gscn_sim
import workloads
from gscn_sim.bounds.machine import BoundedMachine
from gscn_sim.bounds.network import network_bounds
from gscn_sim.config.view import view
from gscn_sim.dataflows.registry import WantedDataflows
from gscn_sim.results.dense_array import dense_layer
from gscn_sim.run.limits import limits
from gscn_sim.run.verify import direct, fill_with_integers, verify
from gscn_sim.sweep.planned_network import PlannedNetwork, planning_key
from workloads import Phase, Trace, matmul_from_arrays

PHASES = ("forward", "dgrad", "wgrad")
Ints = NDArray[np.int64]
SMALL = {"array.pe_rows": 2, "array.pe_cols": 2}


def integers(rng: np.random.Generator, density: float, *shape: int) -> Ints:
    return rng.integers(1, 5, shape) * (rng.random(shape) < density)


def operands(
    sizes: Sequence[int], densities: Sequence[float] = (0.5, 0.5, 0.3), seed: int = 0
) -> tuple[Ints, Ints, Ints]:
    """X [n, heads, M, D], Y [n, heads, D, L] and dC [n, heads, M, L]."""
    n, heads, m, d, columns = sizes
    rng = np.random.default_rng(seed)
    x, y, g = densities
    return (
        integers(rng, x, n, heads, m, d),
        integers(rng, y, n, heads, d, columns),
        integers(rng, g, n, heads, m, columns),
    )


def product_trace(x: Ints, y: Ints, g: Ints, batch_size: int | None = None) -> Trace:
    layer = matmul_from_arrays("attn@1", left=x, right=y, gradient=g)
    return Trace(network="toy", batch_size=batch_size or len(x), layers=[layer])


def t(array: Ints) -> Ints:
    return array.transpose(0, 1, 3, 2)


def test_useful_products_by_hand() -> None:
    """X = [1 0 2; 0 3 0], Y = [1 0; 4 5; 0 6]: meetings at the inner index, one by one."""
    x = np.array([[[[1, 0, 2], [0, 3, 0]]]])
    y = np.array([[[[1, 0], [4, 5], [0, 6]]]])
    g = np.array([[[[7, 0], [0, 0]]]])
    run = gscn_sim.simulate(product_trace(x, y, g), gscn_sim.load_config("gscn"), phases=PHASES)
    # Forward: columns of X have 1, 1, 1 and rows of Y 1, 2, 1 non-zeros: 1 + 2 + 1.
    # dX = dC Y^T: dC's only value, in column 0, meets 2 of Y there. dY = X^T dC: X's row 0 has 2.
    assert run.table["useful_products"].tolist() == [4, 2, 2]
    assert run.table["dense_macs"].tolist() == [12, 12, 12]


@pytest.mark.parametrize("preset", ["gscn", "gscn-ideal", "scnn", "ant"])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (2, 3, 5, 4, 7), (3, 2, 9, 8, 9)])
def test_values_and_counts(preset: str, sizes: tuple[int, ...]) -> None:
    x, y, g = operands(sizes)
    trace = product_trace(x, y, g)
    config = gscn_sim.load_config(preset, SMALL)
    n, heads, m, d, columns = sizes
    expected = {"forward": x @ y, "dgrad": g @ t(y), "wgrad": t(x) @ g}
    layouts = {
        "forward": (n, heads, columns, m),
        "dgrad": (n, heads, d, m),
        "wgrad": (n, heads, columns, d),
    }
    counted = [((a != 0) * 1) @ ((b != 0) * 1) for a, b in ((x, y), (g, t(y)), (t(x), g))]
    for phase, result in expected.items():
        got = gscn_sim.execute(trace.layers[0], phase, config)
        np.testing.assert_array_equal(t(got.reshape(layouts[phase])), result)
    run = gscn_sim.simulate(trace, config, phases=PHASES)  # identities are checked
    assert run.table["useful_products"].tolist() == [int(c.sum()) for c in counted]
    assert run.table["dense_macs"].tolist() == [n * heads * m * d * columns] * 3


def test_recorded_samples_stand_for_the_batch() -> None:
    x, y, g = operands((2, 2, 5, 4, 6))
    config = gscn_sim.load_config("gscn", SMALL)
    own = gscn_sim.simulate(product_trace(x, y, g, 5), config, phases=PHASES)
    turns = [0, 1, 0, 1, 0]
    all_of_them = product_trace(x[turns], y[turns], g[turns])
    spelt_out = gscn_sim.simulate(all_of_them, config, phases=PHASES)
    for column in ("cycles", "useful_products", "dram_read_bytes", "slots_imbalance"):
        assert own.table[column].tolist() == spelt_out.table[column].tolist()
    assert [len(r.products_by_sample) for r in own.records] == [2, 2, 2]
    assert sum(own.records[0].products_by_sample) == ((x != 0) * 1 @ (y != 0) * 1).sum()


def test_right_operands_are_read_for_every_sample() -> None:
    """A fully connected layer reads its weights once; a product as many as there are samples."""
    config = gscn_sim.load_config("gscn")
    dense = np.ones((1, 1, 8, 64), int), np.ones((1, 1, 64, 64), int), np.ones((1, 1, 8, 64), int)
    trace = product_trace(*dense, batch_size=16)
    fc = workloads.layer_from_arrays(
        "fc", activation=np.ones((1, 64, 8, 1)), weight=np.ones((64, 64, 1, 1)), gradient=None
    )
    linear = Trace(network="toy", batch_size=16, layers=[fc])
    product, layer = (
        gscn_sim.simulate(each, config, phases=("forward",)).records[0] for each in (trace, linear)
    )
    assert product.useful_products == layer.useful_products == 16 * 8 * 64 * 64
    assert product.dram_read_bytes - layer.dram_read_bytes >= 15 * 64 * 64 * 4
    shape = trace.layers[0].shape
    bound = dense_layer(shape, Phase.FORWARD, 16, config)
    assert bound.array_cycles == -(-16 * 8 * 64 * 64 // 3584)
    moved = 16 * (8 * 64 + 64 * 64 + 8 * 64) * 4  # both operands and the result of each sample
    assert bound.memory_cycles == pytest.approx(moved / 484e9 * 1.582e9, rel=0.01)


@pytest.mark.parametrize("densities", [(0.5, 0.5, 0.3), (1.0, 1.0, 1.0), (0.1, 1.0, 0.05)])
@pytest.mark.parametrize("phase", [Phase.FORWARD, Phase.DGRAD, Phase.WGRAD])
def test_no_product_is_below_a_bound(phase: Phase, densities: tuple[float, ...]) -> None:
    trace = product_trace(*operands((2, 3, 17, 8, 17), densities), batch_size=5)
    config = gscn_sim.load_config("gscn", SMALL)
    record = gscn_sim.simulate(trace, config, phases=[phase]).records[0]
    vectors = [(config.pe.streamed_vector, config.pe.stationary_vector)]
    wanted = view(WantedDataflows, config)
    bounds = network_bounds(trace, [phase], vectors, [wanted])
    least = bounds.least(view(BoundedMachine, config), wanted)[phase]
    assert 0 < least.cycles <= record.cycles
    planned = PlannedNetwork(trace=trace, phases=[phase]).cycles([planning_key(config)])
    assert planned.item() <= record.cycles  # with groups the planner has no bound: 0
    assert bounds.layer_phases[0].works[record.dataflow].useful == record.useful_products


def test_limits_take_products() -> None:
    trace = product_trace(*operands((2, 3, 17, 8, 17)))
    config = gscn_sim.load_config("gscn", SMALL)
    run = gscn_sim.simulate(trace, config, phases=PHASES)
    table = limits(trace, config, phases=PHASES)
    assert table["seconds"].iloc[0] == pytest.approx(run.table["seconds"].sum())
    assert (table["saved_seconds"].iloc[1:] >= 0).any()


def test_verify_checks_products() -> None:
    trace = product_trace(*operands((3, 2, 6, 5, 4)))
    table = verify(trace, gscn_sim.load_config("gscn", SMALL))
    assert table["passed"].all()
    assert (table["check"] == "functional equality").sum() == 3


def test_the_definition_is_that_of_matrices() -> None:
    x, y, g = operands((2, 2, 3, 4, 5))
    layer = fill_with_integers(product_trace(x, y, g).layers[0], np.random.default_rng(0))
    left, right = layer.values("activation"), layer.values("weight")
    assert left is not None
    assert right is not None
    x, y = t(left.reshape(2, 2, 4, 3)), t(right.reshape(2, 2, 5, 4))
    np.testing.assert_array_equal(direct(layer, Phase.FORWARD).reshape(2, 2, 5, 3), t(x @ y))


def test_the_gpu_column_says_that_products_were_not_measured() -> None:
    table = gscn_sim.simulate(
        product_trace(*operands((2, 2, 6, 5, 4))), gscn_sim.load_config("gscn"), phases=PHASES
    ).table
    assert table["gpu_seconds"].gt(0).all()
    assert table["gpu_note"].str.contains("matrix products were not measured").all()
