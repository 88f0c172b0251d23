"""Fits the operations of a step, and its energy, to measured networks and steps."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from gscn_sim.gpu.coefficients import EnergyCoefficients, StepCoefficients
from gscn_sim.gpu.device import Device
from gscn_sim.gpu.fits import Fit, FitFile, Fitted
from gscn_sim.gpu.fitting import HELD_OUT_TRIALS, MOST_TRIALS, least_squares_of
from gscn_sim.gpu.layers import Array
from gscn_sim.gpu.measured import measured_networks, measured_operators, measured_steps
from gscn_sim.gpu.network_step import network_step
from gscn_sim.gpu.step import PreparedStep, energy_j, predict_step, prepare
from workloads.step import STEP_PHASES, Operation

if TYPE_CHECKING:
    import pandas as pd

BATCH_SIZE = 16
FEWEST_NETWORKS = 4
LEAST_MS = 0.03
"""Classes that take less in a step are left out of its fit."""
CLASS_WEIGHT = 0.5
BUSY_WEIGHT = 4.0
ENERGY_WEIGHT = 2.0
CERTAIN_J, CERTAINTY = 5.0, (1.0, 1.6)
"""The same small step measured twice differs by 40 %: joules count by their square root."""
HOST_WEIGHT = 0.3
"""Times of launch-bound phases differ by half between runs of the same step."""
CLASSES: Mapping[str, tuple[str, ...]] = {
    "activation, forward": ("aten::clamp_min_",),
    "activation, backward": ("aten::threshold_backward",),
    "normalisation, forward": ("aten::cudnn_batch_norm", "aten::native_batch_norm"),
    "normalisation, backward": (
        "aten::cudnn_batch_norm_backward",
        "aten::native_batch_norm_backward",
    ),
    "addition": ("aten::add_",),
    "bias gradient": ("aten::sum",),
    "pooling, forward": ("aten::max_pool2d_with_indices",),
    "pooling, backward": ("aten::max_pool2d_with_indices_backward", "aten::fill_"),
    "matmul": ("aten::addmm", "aten::mm"),
    "optimizer": ("aten::_foreach_add", "aten::_foreach_mul_", "aten::_foreach_add_"),
    "cast": ("aten::copy_",),
    "convolution, forward": ("aten::cudnn_convolution",),
    "convolution, backward": ("aten::convolution_backward",),
}
"""PyTorch's kernels of a class, as the profiler names them."""


def _rows_of(table: pd.DataFrame) -> Any:
    """Rows as named tuples, whose values mypy cannot know."""
    return table.itertuples()


def class_of(operation: Operation) -> str:
    """The class that an operation belongs to, "" for none that was measured."""
    kind, name, phase = operation.kind, operation.name, operation.phase
    if kind in ("activation", "normalisation", "convolution"):
        return f"{kind}, {phase}" if "dropout" not in name else ""
    if kind == "pooling":
        return f"pooling, {phase}" if "max_pool" in name else ""
    if name in ("sum", "convolution_backward.bias"):
        return "bias gradient"
    return kind if kind in CLASSES else ""


def fit_step(device: Device, fits: Mapping[str, Fit]) -> Fitted | None:
    """Fit a device in its precision to its measured steps by operator, else to whole passes.

    Nothing if neither was measured. The convolutions' times are those of ``fits``.
    """
    if len(measured_operators(device)):
        return _fit_operators(device, fits)
    networks = measured_networks(device)
    networks = networks[networks["batch_size"] == BATCH_SIZE]
    if len(networks) >= FEWEST_NETWORKS and device.precision == "fp32":
        return fit_passes(device, fits, networks, "networks_fp32.csv")
    return None


class PricedSteps:
    """Known networks' steps on one device, priced for any coefficients."""

    def __init__(self, device: Device, fits: Mapping[str, Fit]) -> None:
        self.device = device
        self.file = FitFile(device=fits, step={}, energy={}, sparse={})
        self._prepared: dict[tuple[str, int], tuple[PreparedStep, Array, Array]] = {}

    def sums(self, network: str, batch_size: int, c: StepCoefficients) -> dict[str, float]:
        """Milliseconds by class, by phase (``forward``, ``backward``, ``optimizer``) and waiting.

        ``forward, waiting`` is how long the GPU waits for its host in the forward pass.
        """
        key = (network, batch_size)
        if key not in self._prepared:
            prepared = prepare(network_step(network, batch_size), self.device, self.file)
            classes = np.array([class_of(o) for o in prepared.operations])
            phases = np.array([o.phase for o in prepared.operations])
            self._prepared[key] = (prepared, classes, phases)
        prepared, classes, phases = self._prepared[key]
        times = 1e3 * prepared.seconds(c)
        found = {name: float(times[classes == name].sum()) for name in set(classes)}
        found |= {name: float(times[phases == name].sum()) for name in STEP_PHASES}
        waits = prepared.waiting(c, times / 1e3)
        return found | {f"{name}, waiting": 1e3 * idle for name, idle in waits.items()}


def _busy(sums: Mapping[str, float]) -> float:
    return sum(sums[name] for name in STEP_PHASES)


def _fit_operators(device: Device, fits: Mapping[str, Fit]) -> Fitted:
    priced = PricedSteps(device, fits)
    operators = measured_operators(device)
    walls = measured_steps(device)
    pairs = operators[["network", "batch_size"]].drop_duplicates()
    steps = [(str(row.network), int(row.batch_size)) for row in _rows_of(pairs)]
    truth = {step: _by_class(operators, step) for step in steps}

    def residuals(c: StepCoefficients, chosen: list[tuple[str, int]]) -> Array:
        parts = []
        for step in chosen:
            sums = priced.sums(*step, c)
            for name, known in truth[step].items():
                if not name.startswith("convolution") and known > LEAST_MS:
                    parts.append(CLASS_WEIGHT * np.log(sums[name] / known))
        for row in _rows_of(walls):
            if (row.network, row.batch_size) in chosen or row.source == "networks":
                sums = priced.sums(row.network, row.batch_size, c)
                for phase, known in (("forward", row.forward_ms), ("backward", row.backward_ms)):
                    total = sums[phase] + sums[f"{phase}, waiting"]
                    parts.append(HOST_WEIGHT * np.log(total / known))
        return np.array(parts)

    everything = least_squares_of(StepCoefficients.typical(), lambda c: residuals(c, steps))
    errors: dict[str, dict[str, float]] = {}
    for step in steps:
        others = [one for one in steps if one != step]
        left_out = least_squares_of(everything, partial(residuals, chosen=others), HELD_OUT_TRIALS)
        figures = {}
        for label, c in (("fitted", everything), ("held_out", left_out)):
            sums = priced.sums(*step, c)
            known = float(operators.loc[_rows(operators, step), "device_ms"].sum())
            figures[f"{label}_busy_percent"] = 100 * (_busy(sums) / known - 1)
            for name, value in truth[step].items():
                if value > LEAST_MS:
                    figures[f"{label} {name}"] = 100 * (sums[name] / value - 1)
        errors[f"{step[0]}, N = {step[1]}"] = figures
    return Fitted(
        coefficients=everything,
        errors=errors,
        fitted_on=f"{len(steps)} steps by operator on {device.title}, h100_step_ops.csv",
    )


def _rows(operators: pd.DataFrame, step: tuple[str, int]) -> pd.Series:
    same = operators["network"] == step[0]
    return same & (operators["batch_size"] == step[1]) & operators["operator"].str.contains("aten")


def _by_class(operators: pd.DataFrame, step: tuple[str, int]) -> dict[str, float]:
    part = operators[_rows(operators, step)].set_index("operator")["device_ms"]
    sums = {name: float(part[part.index.isin(members)].sum()) for name, members in CLASSES.items()}
    return {name: value for name, value in sums.items() if value > 0}


def fit_passes(device: Device, fits: Mapping[str, Fit], table: pd.DataFrame, source: str) -> Fitted:
    """Fit a device to measured whole passes of known networks, with each left out in turn.

    ``table`` has columns network, batch_size, forward_ms, backward_ms.
    """
    priced = PricedSteps(device, fits)
    rows = [
        (str(row.network), int(row.batch_size), np.array([row.forward_ms, row.backward_ms], float))
        for row in _rows_of(table)
    ]

    def off(row: tuple[str, int, Array], c: StepCoefficients) -> Array:
        sums = priced.sums(row[0], row[1], c)
        return np.array([sums["forward"], sums["backward"]]) / row[2]

    def fitted(chosen: list[int], start: StepCoefficients, trials: int) -> StepCoefficients:
        def residuals(c: StepCoefficients) -> Array:
            return BUSY_WEIGHT * np.concatenate([np.log(off(rows[i], c)) for i in chosen])

        return least_squares_of(start, residuals, trials)

    everyone = list(range(len(rows)))
    best = fitted(everyone, StepCoefficients.typical(), MOST_TRIALS)
    errors = {}
    for row in rows:
        others = [j for j in everyone if rows[j][0] != row[0]]
        figures = {}
        for label, c in (("fitted", best), ("held_out", fitted(others, best, HELD_OUT_TRIALS))):
            percent = 100 * (off(row, c) - 1)
            figures[f"{label}_forward_percent"] = float(percent[0])
            figures[f"{label}_backward_percent"] = float(percent[1])
        errors[f"{row[0]}, N = {row[1]}"] = figures
    return Fitted(
        coefficients=best,
        errors=errors,
        fitted_on=f"{len(rows)} whole passes on {device.title}, {source}",
    )


def fit_energy(device: Device, table: pd.DataFrame, file: FitFile, source: str) -> Fitted | None:
    """Fit the energy of a device in its precision to measured steps.

    ``table`` has columns network, batch_size, step_ms, energy_j, source. Nothing if there are too
    few. Multiplications and bytes are those of ``predict_step``, times the measured ones; held out:
    by a fit without any step of the network.
    """
    points = []
    for row in _rows_of(table):
        if not (np.isfinite(row.energy_j) and np.isfinite(row.step_ms)):
            continue
        step = predict_step(network_step(row.network, row.batch_size), device, fits=file)
        sizes = {
            "wall_s": row.step_ms / 1e3,
            "multiplications": float(step["multiplications"].sum()),
            "moved_bytes": float(step["moved_bytes"].sum()),
        }
        points.append((row, sizes))
    if len(points) < FEWEST_NETWORKS:
        return None

    def ratio(i: int, c: EnergyCoefficients) -> float:
        row, sizes = points[i]
        return energy_j(c, **sizes) / float(row.energy_j)

    def fitted(chosen: list[int]) -> EnergyCoefficients:
        return least_squares_of(
            EnergyCoefficients.typical(),
            lambda c: np.array([weights[i] * np.log(ratio(i, c)) for i in chosen]),
        )

    everyone = list(range(len(points)))
    joules = np.array([row.energy_j for row, _ in points])
    weights = ENERGY_WEIGHT * np.clip(np.sqrt(joules / CERTAIN_J), *CERTAINTY)
    best = fitted(everyone)
    left_out = {
        name: fitted([i for i in everyone if points[i][0].network != name])
        for name in dict.fromkeys(row.network for row, _ in points)
    }
    errors = {
        f"{row.network}, N = {row.batch_size} ({row.source})": {
            "measured_j": float(row.energy_j),
            "fitted_percent": 100 * (ratio(i, best) - 1),
            "held_out_percent": 100 * (ratio(i, left_out[row.network]) - 1),
        }
        for i, (row, _) in enumerate(points)
    }
    return Fitted(
        coefficients=best,
        errors=errors,
        fitted_on=f"{len(points)} steps on {device.title}, {source}",
    )
