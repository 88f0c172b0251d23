"""What a GPU's own sparse products make of a sparse gradient: the third column beside it.

The gradient becomes a CSR matrix, a sparse product with the dense operand follows, and for filters
larger than 1x1 a folding (dgrad: ``col2im`` after the product) or unfolding (wgrad: ``im2col``
before it). fp32, as measured through PyTorch and cuSPARSE.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from gscn_sim.gpu.coefficients import SparseCoefficients
from gscn_sim.gpu.device import Device, find_device
from gscn_sim.gpu.errors import GpuError
from gscn_sim.gpu.fits import FitFile, Fitted, device_fits
from gscn_sim.gpu.fitting import MOST_TRIALS, least_squares_of
from gscn_sim.gpu.layers import Array, Layers, checked_layers
from gscn_sim.gpu.measured import measured_sparse
from gscn_sim.gpu.prediction import predict

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("to_csr", "spmm_dgrad", "fold", "unfold", "spmm_wgrad")
LEAST_DENSITY = 1e-4


def parts_ms(
    layers: Layers, density: Array, device: Device, c: SparseCoefficients
) -> dict[str, Array]:
    """Milliseconds of each part, one entry a layer.

    A non-zero of the gradient meets a row of the dense operand, C R S long: its multiply-adds, and
    the row gathered from L2 or DRAM; the dense result is written, the dense operand read.
    """
    rate = device.bytes_per_ms
    row = layers.C * layers.R * layers.S
    pixels = layers.N * layers.P * layers.Q
    nonzeros = density * layers.output_elements
    columns_bytes = 4 * row * pixels
    gathered_ms = 4 * nonzeros * row / (rate * c.gather_fraction)
    products_ms = 2 * nonzeros * row / (c.product_gflop_s * 1e6)
    busy_ms = np.maximum(gathered_ms, products_ms)
    columns_ms = columns_bytes / (rate * c.stream_fraction)
    image_bytes = columns_bytes + 4 * layers.input_elements
    folded = np.where(layers.R * layers.S > 1, image_bytes / (rate * c.fold_fraction), 0.0)
    least_ms = c.kernel_us / 1e3
    # In wgrad filters that run together share through L2 what they gather from the columns.
    beyond = columns_bytes > BEYOND_L2 * device.l2_bytes
    shared = np.where(beyond, np.minimum(1.0, layers.K / SHARING_FILTERS), 1.0)
    gradient_ms = 4 * layers.output_elements / (rate * c.convert_fraction)
    return {
        "to_csr": c.convert_us / 1e3 + gradient_ms,
        "spmm_dgrad": least_ms + busy_ms + columns_ms,
        "fold": folded,
        "unfold": np.where(folded > 0, np.maximum(folded * UNFOLD_SHARE, c.convert_us / 1e3), 0.0),
        "spmm_wgrad": least_ms + busy_ms * WGRAD_SHARE / shared,
    }


BEYOND_L2, SHARING_FILTERS = 8, 256
"""Columns of so many times L2 are gathered from DRAM, unless so many filters share them. Assumed.
"""
UNFOLD_SHARE = 0.4
"""Unfolding writes each column once; folding adds up what meets in a pixel. Assumed."""
WGRAD_SHARE = 1.1
"""wgrad's gathers meet the columns, dgrad's the filters, which stay in L2. Assumed."""


def predict_sparse(
    layers: pd.DataFrame,
    density: float | Array,
    device: str | Device = "h100",
    *,
    fits: FitFile | None = None,
) -> pd.DataFrame:
    """The card's own sparse backward pass of each layer beside its dense one, in fp32.

    Returns the layers with ``density``, ``dense_dgrad_ms``, ``dense_wgrad_ms``,
    ``sparse_dgrad_ms`` (product and folding), ``sparse_wgrad_ms`` (unfolding and product),
    ``convert_ms`` (once for both), and ``gain``: the dense backward pass over the sparse one,
    converted. ``gain_below`` is the density below which the sparse one is faster (0: never).

    Raises:
        GpuError: a device whose sparse products were not measured, a density outside 0..1, or a
            table that ``predict`` refuses.
    """
    gpu = find_device(device) if isinstance(device, str) else device
    densities = np.broadcast_to(np.asarray(density, dtype=float), len(layers))
    if not ((densities >= 0) & (densities <= 1)).all():
        raise GpuError(f"density must be from 0 to 1, got {densities.min()} to {densities.max()}")
    c = sparse_coefficients(gpu, fits)
    sizes = checked_layers(layers)
    times = predict(layers, gpu)
    dense = times["dgrad_ms"].to_numpy() + times["wgrad_ms"].to_numpy()
    parts = parts_ms(sizes, densities, gpu, c)
    result = layers.copy()
    result["density"] = densities
    result["dense_dgrad_ms"] = times["dgrad_ms"].to_numpy()
    result["dense_wgrad_ms"] = times["wgrad_ms"].to_numpy()
    result["sparse_dgrad_ms"] = parts["spmm_dgrad"] + parts["fold"]
    result["sparse_wgrad_ms"] = parts["unfold"] + parts["spmm_wgrad"]
    result["convert_ms"] = parts["to_csr"]
    result["gain"] = dense / _total_ms(parts)
    result["gain_below"] = _break_even(sizes, dense, gpu, c)
    return result


def sparse_coefficients(device: Device, fits: FitFile | None = None) -> SparseCoefficients:
    """The coefficients of a device.

    Raises:
        GpuError: its sparse products were not measured.
    """
    found = (device_fits(device) if fits is None else fits).sparse.get(device.name)
    if found is None:
        raise GpuError(
            f"sparse products were not measured on device {device.name}; they were on h100"
        )
    if device.precision != "fp32":
        raise GpuError(f"sparse products were measured in fp32 only, got {device.precision}")
    return cast(SparseCoefficients, found.coefficients)


def _total_ms(parts: Mapping[str, Array]) -> Array:
    return np.asarray(sum(parts[name] for name in PARTS))


def _break_even(sizes: Layers, dense_ms: Array, device: Device, c: SparseCoefficients) -> Array:
    """The density at which both take as long: the sparse time is a straight line over it."""
    nothing = _total_ms(parts_ms(sizes, np.zeros(len(sizes)), device, c))
    everything = _total_ms(parts_ms(sizes, np.ones(len(sizes)), device, c))
    found = (dense_ms - nothing) / (everything - nothing)
    return np.where(found < LEAST_DENSITY, 0.0, np.minimum(found, 1.0))


def fit_sparse(device: Device) -> Fitted | None:
    """Fit a device to its measured sparse products; errors by part, as fitted and held out.

    Held out: each layer predicted by a fit without any of its densities. Nothing if none was
    measured.
    """
    table = measured_sparse(device)
    if not len(table):
        return None

    def errors(c: SparseCoefficients, rows: pd.DataFrame) -> dict[str, Array]:
        density = rows["density"].to_numpy()
        found = parts_ms(checked_layers(rows), density, device, c)
        known = {name: rows[f"{name}_ms"].to_numpy() for name in PARTS}
        there = {name: known[name] > 0 for name in PARTS}
        return {name: np.log(found[name][at] / known[name][at]) for name, at in there.items()}

    def fitted(rows: pd.DataFrame, start: SparseCoefficients, trials: int) -> SparseCoefficients:
        def residuals(c: SparseCoefficients) -> Array:
            return np.concatenate(list(errors(c, rows).values()))

        return least_squares_of(start, residuals, trials)

    best = fitted(table, SparseCoefficients.typical(), MOST_TRIALS)
    unseen: dict[str, list[Any]] = {name: [] for name in PARTS}
    for _, rows in table.groupby("layer", sort=False):
        others = table.drop(index=rows.index)
        left_out = fitted(others, SparseCoefficients.typical(), MOST_TRIALS)
        for name, found in errors(left_out, rows).items():
            unseen[name].extend(found)
    seen = errors(best, table)
    figures = {
        name: {
            "fitted_mean_percent": float(100 * np.abs(np.expm1(seen[name])).mean()),
            "held_out_mean_percent": float(100 * np.abs(np.expm1(unseen[name])).mean()),
        }
        for name in PARTS
    }
    return Fitted(
        coefficients=best,
        errors=figures,
        fitted_on=f"{len(table)} rows of {device.title}, h100_sparse_products.csv",
    )
