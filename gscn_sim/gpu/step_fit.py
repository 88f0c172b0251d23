"""Fits the operations of a step, and its energy, to measured networks and steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from gscn_sim.gpu.coefficients import EnergyCoefficients, StepCoefficients
from gscn_sim.gpu.device import Device, load_device
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
LEAST_MS = 0.03
"""Classes that take less in a step are left out of its fit."""
CLASS_WEIGHT = 0.5
BUSY_WEIGHT = 4.0
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
    if len(networks[networks["batch_size"] == BATCH_SIZE]) >= 4:
        return _fit_networks(device, fits)
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
    steps = list(operators.groupby(["network", "batch_size"], sort=False).groups)
    truth = {step: _by_class(operators, step) for step in steps}

    def residuals(c: StepCoefficients, chosen: list[tuple[str, int]]) -> Array:
        parts = []
        for step in chosen:
            sums = priced.sums(*step, c)
            for name, known in truth[step].items():
                if not name.startswith("convolution") and known > LEAST_MS:
                    parts.append(CLASS_WEIGHT * np.log(sums[name] / known))
        for row in walls.itertuples():
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
        left_out = least_squares_of(
            everything, lambda c, others=others: residuals(c, others), HELD_OUT_TRIALS
        )
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
    sums = {
        name: float(part[part.index.isin(members)].sum()) for name, members in CLASSES.items()
    }
    return {name: value for name, value in sums.items() if value > 0}


def _fit_networks(device: Device, fits: Mapping[str, Fit]) -> Fitted:
    priced = PricedSteps(device, fits)
    table = measured_networks(device)
    table = table[table["batch_size"] == BATCH_SIZE].set_index("network")
    names = list(table.index)

    def predicted(name: str, c: StepCoefficients) -> Array:
        sums = priced.sums(name, BATCH_SIZE, c)
        return np.array([sums["forward"], sums["backward"]])

    known = {name: table.loc[name, ["forward_ms", "backward_ms"]].to_numpy(float) for name in names}

    def fitted(
        chosen: list[str], start: StepCoefficients, trials: int = MOST_TRIALS
    ) -> StepCoefficients:
        def residuals(c: StepCoefficients) -> Array:
            parts = [np.log(predicted(name, c) / known[name]) for name in chosen]
            return BUSY_WEIGHT * np.concatenate(parts)

        return least_squares_of(start, residuals, trials)

    everything = fitted(names, StepCoefficients.typical())
    errors = {}
    for name in names:
        others = [other for other in names if other != name]
        left_out = fitted(others, everything, HELD_OUT_TRIALS)
        figures = {}
        for label, c in (("fitted", everything), ("held_out", left_out)):
            off = 100 * (predicted(name, c) / known[name] - 1)
            figures[f"{label}_forward_percent"] = float(off[0])
            figures[f"{label}_backward_percent"] = float(off[1])
        errors[name] = figures
    return Fitted(
        coefficients=everything,
        errors=errors,
        fitted_on=f"{len(names)} networks at N = {BATCH_SIZE} on {device.title}, networks_fp32.csv",
    )


def fit_energy(
    name: str, file: FitFile, progress: Callable[[str], None] = lambda text: None
) -> Fitted | None:
    """Fit a device's energy to the steps it was measured on, in all precisions together.

    Nothing if none was measured. Multiply-adds and bytes are those of ``predict_step``, times the
    measured ones.
    """
    first = load_device(name)
    points = []
    for precision in first.precisions:
        device = first.at(precision)
        for row in measured_steps(device).itertuples():
            if not np.isfinite(row.energy_j):
                continue
            table = predict_step(network_step(row.network, row.batch_size), device, fits=file)
            work = {
                "wall_s": row.step_ms / 1e3,
                "macs": float(table["macs"].sum()),
                "moved_bytes": float(table["moved_bytes"].sum()),
            }
            points.append((f"{row.network}, N = {row.batch_size}, {precision}", device, row, work))
    if len(points) < 6:
        return None

    def residuals(c: EnergyCoefficients, chosen: list[int]) -> Array:
        return np.array(
            [
                2 * np.log(energy_j(c, points[i][1], **points[i][3]) / points[i][2].energy_j)
                for i in chosen
            ]
        )

    def fitted(chosen: list[int]) -> EnergyCoefficients:
        return least_squares_of(EnergyCoefficients.typical(), lambda c: residuals(c, chosen))

    everyone = list(range(len(points)))
    best = fitted(everyone)
    errors: dict[str, dict[str, float]] = {}
    for i, (label, device, row, work) in enumerate(points):
        others = fitted([j for j in everyone if points[j][2].network != row.network])
        errors[f"{label} ({row.source})"] = {
            "measured_j": float(row.energy_j),
            "fitted_percent": 100 * (energy_j(best, device, **work) / row.energy_j - 1),
            "held_out_percent": 100 * (energy_j(others, device, **work) / row.energy_j - 1),
        }
        progress(f"{i + 1} of {len(points)}")
    return Fitted(
        coefficients=best,
        errors=errors,
        fitted_on=f"{len(points)} steps on {first.title}, h100_steps.csv and h100_networks.csv",
    )
