"""Fits what memory-bound layers reach to the measured whole backward passes of networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gscn_sim.gpu.coefficients import Fit, MemoryFit, MemoryLayers
from gscn_sim.gpu.device import load_device
from gscn_sim.gpu.layers import Array
from gscn_sim.gpu.measured import measured_networks
from gscn_sim.gpu.network import memory_layers_ms, weighted_ms
from workloads.networks import NetworkLayer, network_layers

DEVICE = "gtx-1080ti"
BATCH_SIZE = 16
OUTLIER_SCALE = 0.1
_LOW, _START, _HIGH = (0.3, 0.05), (0.6, 0.15), (1.0, 1.0)


def fit_memory_layers(fits: Mapping[str, Fit]) -> MemoryFit:
    """Two coefficients from the six networks measured on the GTX 1080 Ti at N = 16.

    The convolutions' times are those of ``fits``. Each network's error is also given for a fit that
    did not see it.
    """
    device = load_device(DEVICE)
    table = measured_networks(device)
    table = table[table["batch_size"] == BATCH_SIZE]
    names = list(table["network"])
    networks = [network_layers(name) for name in names]
    measured = table["backward_ms"].to_numpy(dtype=float)
    weighted = np.array([weighted_ms(n, BATCH_SIZE, device, fits=fits)["_ms"][1] for n in networks])

    def fitted(rows: Sequence[int]) -> MemoryLayers:
        chosen = [networks[row] for row in rows]
        return _least_squares(chosen, weighted[list(rows)], measured[list(rows)])

    def error_percent(row: int, memory: MemoryLayers) -> float:
        total = weighted[row] + memory_layers_ms(networks[row], BATCH_SIZE, device, memory)
        return float(100 * (total / measured[row] - 1))

    everything = fitted(range(len(names)))
    errors = {}
    for row, name in enumerate(names):
        others = fitted([other for other in range(len(names)) if other != row])
        errors[name] = {
            "fitted_percent": error_percent(row, everything),
            "held_out_percent": error_percent(row, others),
        }
    return MemoryFit(
        coefficients=everything,
        errors=errors,
        fitted_on=f"{len(names)} networks at N = {BATCH_SIZE} on {device.title}, networks_fp32.csv",
    )


def _least_squares(
    networks: Sequence[list[NetworkLayer]], weighted: Array, measured: Array
) -> MemoryLayers:
    from scipy.optimize import least_squares

    device = load_device(DEVICE)
    low, high = np.log(_LOW), np.log(_HIGH)

    def memory(log_values: Array) -> MemoryLayers:
        bandwidth, pool = np.clip(np.exp(log_values), _LOW, _HIGH)
        return MemoryLayers(bandwidth=float(bandwidth), pool_bandwidth=float(pool))

    def residuals(log_values: Array) -> Array:
        candidate = memory(log_values)
        rest = np.array([memory_layers_ms(n, BATCH_SIZE, device, candidate) for n in networks])
        return np.asarray(np.log((weighted + rest) / measured))

    best = least_squares(
        residuals,
        np.log(_START),
        bounds=(low, high),
        loss="soft_l1",
        f_scale=OUTLIER_SCALE,
        diff_step=np.full(2, 1e-3),
    )
    return memory(best.x)
