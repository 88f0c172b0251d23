"""The time and energy of a whole training step on a GPU, operation by operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from gscn_sim.gpu.coefficients import EnergyCoefficients, StepCoefficients
from gscn_sim.gpu.device import Device, find_device
from gscn_sim.gpu.errors import GpuError
from gscn_sim.gpu.fits import FitFile, device_fits
from gscn_sim.gpu.layers import Array, layers_frame
from gscn_sim.gpu.prediction import PASSES, predict
from gscn_sim.gpu.step_price import Sizes, Work, seconds, with_lowered, work
from workloads.shape import LayerShape
from workloads.step import Operation, Step, StepPhase

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    *("phase", "kind", "operation", "seconds", "module", "moved_bytes", "macs"),
    "multiplications",
)
SAVED = {
    "winograd_2x2_fused": 2.25,
    "winograd_4x4": 4.0,
    "winograd_2x2": 100 / 36,
    "fft_32x32": 30 * 30 * 9 / (4 * 32 * 17),
    "fft_16x16": 14 * 14 * 9 / (4 * 16 * 9),
}
"""Multiply-adds for one multiplication in a transformed domain, of 3x3 filters (5x5: 2x2)."""
WAITING = "waiting for launches"
"""The row of each phase for the time in which the GPU waits for its host."""
_PASS = {
    "convolution": "forward",
    "convolution_backward.dgrad": "dgrad",
    "convolution_backward.wgrad": "wgrad",
}
REFERENCE = {
    "cudnn-5-to-7": "gtx-1080ti",
    "cudnn-9-fp32": "h100",
    "cudnn-9-tensor": "h100:tf32",
}
"""Whose operations stand for those of a device whose steps were not measured, by library."""


def predict_step(
    step: Step,
    device: str | Device = "gtx-1080ti",
    precision: str | None = None,
    *,
    fits: FitFile | None = None,
) -> pd.DataFrame:
    """Price every operation of a training step on a GPU.

    One row an operation: ``phase``, ``kind``, ``operation``, ``seconds``, and its ``module``,
    ``moved_bytes``, ``macs`` and ``multiplications`` (fewer where a convolution is transformed).
    Convolutions are those of ``predict``; the others are priced by
    class (``gscn_sim.gpu.step_price``). Rows that the device adds: a convolution's bias
    (``convolution.bias``), casts where a step recorded in fp32 is priced in 16 bits, and for each
    phase ``waiting for launches``: how much longer the host needs to issue its operations than the
    GPU to run them (0 where the GPU is busy). Without the latter the sum is the busy time.

    Raises:
        GpuError: an unknown device or precision, or one without fitted coefficients.
    """

    gpu = _gpu(device, precision)
    file = device_fits(gpu) if fits is None else fits
    return prepare(step, gpu, file).table(step_coefficients(gpu, file))


def operation_seconds(
    operations: Mapping[int, Operation],
    device: str | Device,
    precision: str | None = None,
) -> dict[int, float]:
    """Seconds of some operations of a step on a GPU, by their number in the step.

    A row that the device adds counts with the operation after it; what a phase waits for launches
    is shared out in proportion.

    Raises:
        GpuError: an unknown device or precision, or one without fitted coefficients.
    """
    gpu = _gpu(device, precision)
    file = device_fits(gpu)
    alone = [replace(operation, depends_on=()) for operation in operations.values()]
    numbers = {id(operation): n for n, operation in zip(operations, alone, strict=True)}
    step = Step(network="kept", batch_size=1, input_shapes=(), optimizer="kept", operations=alone)
    prepared, c = prepare(step, gpu, file), step_coefficients(gpu, file)
    times = prepared.seconds(c)
    waiting = prepared.waiting(c, times)
    phases = np.array([operation.phase for operation in prepared.operations])
    for phase, idle_s in waiting.items():
        busy_s = float(times[phases == phase].sum())
        times[phases == phase] *= 1 + idle_s / busy_s if busy_s else 1
    found: dict[int, float] = dict.fromkeys(operations, 0.0)
    added = 0.0
    number = next(iter(operations), None)
    for operation, seconds_s in zip(prepared.operations, times.tolist(), strict=True):
        added += seconds_s
        number = numbers.get(id(operation))
        if number is not None:
            found[number] += added
            added = 0.0
    if number is None and added:
        found[list(operations)[-1]] += added
    return found


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PreparedStep:
    """A step's operations as a device runs them, the convolutions' seconds by position."""

    operations: tuple[Operation, ...]
    works: tuple[Work, ...]
    device: Device
    convolutions: Mapping[int, float]
    saved: Mapping[int, float]

    def seconds(self, c: StepCoefficients) -> Array:
        """Time of each operation for given coefficients."""
        macs = np.array([operation.macs for operation in self.operations], dtype=float)
        found = seconds(self.works, macs, self.device, c)
        found[list(self.convolutions)] = list(self.convolutions.values())
        return found

    def waiting(self, c: StepCoefficients, times: Array) -> dict[StepPhase, float]:
        """By phase, how much longer the host issues operations than the GPU runs them."""
        phases = np.array([operation.phase for operation in self.operations])
        host: dict[StepPhase, float] = {
            "forward": c.host_forward_us / 1e6,
            "backward": c.host_backward_us / 1e6,
        }
        return {
            phase: max(0.0, float(((phases == phase) * (each_s - times)).sum()))
            for phase, each_s in host.items()
        }

    def table(self, c: StepCoefficients) -> pd.DataFrame:
        """The table of ``predict_step`` for given coefficients."""
        import pandas as pd

        times = self.seconds(c)
        rows: list[tuple[object, ...]] = []
        for i, o in enumerate(self.operations):
            products = (o.macs, o.macs / self.saved.get(i, 1.0))
            moved = self.works[i].moved_bytes
            rows.append((o.phase, o.kind, o.name, float(times[i]), o.module, moved, *products))
        rows += [
            (phase, "other", WAITING, idle_s, "", 0.0, 0, 0.0)
            for phase, idle_s in self.waiting(c, times).items()
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))


def prepare(step: Step, device: Device, file: FitFile) -> PreparedStep:
    """Lower a step to a device's operations and predict its convolutions.

    Raises:
        GpuError: the device has no fitted coefficients.
    """
    half = device.element_bytes == 2 and not _has_half(step.operations)
    operations = tuple(with_lowered(tuple(step.operations), half))
    convolutions, saved = _convolutions(operations, device, file)
    return PreparedStep(
        operations=operations,
        works=tuple(work(one, Sizes(half=half), device) for one in operations),
        device=device,
        convolutions=convolutions,
        saved=saved,
    )


def step_coefficients(device: Device, file: FitFile | None = None) -> StepCoefficients:
    """A device's coefficients, or those of the device that stands for it.

    Raises:
        GpuError: neither has any.
    """
    found = (file or device_fits(device)).step
    fitted = found.get(device.key)
    if fitted is None:
        reference = "h100:bf16" if device.element_bytes == 2 else REFERENCE[device.kernel_library]
        fitted = device_fits(find_device(reference)).step.get(reference)
    if fitted is None:
        raise GpuError(f"device {device.key} has no fitted coefficients for a training step")
    return cast(StepCoefficients, fitted.coefficients)


def step_energy_j(
    table: pd.DataFrame,
    device: str | Device,
    precision: str | None = None,
    *,
    fits: FitFile | None = None,
) -> float:
    """Joules of a step that ``predict_step`` priced: idle power, multiplications and bytes.

    Raises:
        GpuError: an unknown device or precision, or one whose energy was not measured.
    """
    gpu = _gpu(device, precision)
    found = (device_fits(gpu) if fits is None else fits).energy.get(gpu.key)
    if found is None:
        raise GpuError(f"the energy of device {gpu.key} was not measured; its power is the bound")
    return energy_j(
        found.coefficients,
        wall_s=float(table["seconds"].sum()),
        multiplications=float(table["multiplications"].sum()),
        moved_bytes=float(table["moved_bytes"].sum()),
    )


def energy_j(
    c: EnergyCoefficients, *, wall_s: float, multiplications: float, moved_bytes: float
) -> float:
    """Joules from a time, multiplications and bytes."""
    moved = c.pj_per_multiplication * multiplications + c.pj_per_byte * moved_bytes
    return c.idle_w * wall_s + 1e-12 * moved


def _gpu(device: str | Device, precision: str | None) -> Device:
    if isinstance(device, str):
        return find_device(device, precision)
    return device if precision is None else device.at(precision)


def _has_half(operations: Sequence[Operation]) -> bool:
    """Whether a step was recorded with 16-bit tensors: it has its casts already."""
    return any(
        tensor.dtype in ("float16", "bfloat16")
        for operation in operations
        for tensor in operation.inputs
    )


def _convolutions(
    operations: Sequence[Operation], device: Device, file: FitFile
) -> tuple[dict[int, float], dict[int, float]]:
    """By position: seconds of the convolutions, and multiply-adds for one multiplication.

    Each layer and batch size is predicted once.
    """
    import pandas as pd

    places: dict[tuple[LayerShape, int], list[tuple[int, str]]] = {}
    for index, operation in enumerate(operations):
        if operation.layer is None or operation.name not in _PASS:
            continue
        key = (operation.layer, max(1, operation.samples))
        places.setdefault(key, []).append((index, _PASS[operation.name]))
    if not places:
        return {}, {}
    frames = [layers_frame([layer], samples) for layer, samples in places]
    fits = file.device if device.key in file.device else None
    times = predict(pd.concat(frames, ignore_index=True), device, fits=fits)
    columns = {name: times[f"{name}_ms"].to_numpy() / 1e3 for name in PASSES}
    chosen = {name: times[f"{name}_algorithm"].to_numpy() for name in PASSES}
    found, saved = {}, {}
    for row, members in enumerate(places.values()):
        for index, name in members:
            found[index] = float(columns[name][row])
            saved[index] = SAVED.get(chosen[name][row], 1.0)
    return found, saved
