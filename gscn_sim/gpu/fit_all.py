"""Everything that ``gscn-sim gpu fit`` fits: convolutions, steps, energy, sparse products."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gscn_sim.gpu.device import Device, device_keys, load_device
from gscn_sim.gpu.errors import GpuError
from gscn_sim.gpu.fits import Fit, FitFile, Fitted, format_file, load_file
from gscn_sim.gpu.fitting import fit_layers
from gscn_sim.gpu.measured import measured_layers, measured_steps
from gscn_sim.gpu.sparse import fit_sparse
from gscn_sim.gpu.step_fit import fit_energy, fit_step

if TYPE_CHECKING:
    import pandas as pd

_STEPS = "h100_steps.csv and h100_networks.csv"
HEADING = "Coefficients of the analytical GPU model. Made by: gscn-sim gpu fit"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FitAll:
    """All that a fit gives: the file, and each layer predicted without its shape."""

    file: FitFile
    held_out: pd.DataFrame

    def text(self) -> str:
        """The data file."""
        return format_file(self.file, HEADING)


def fit(
    keys: Sequence[str] | None = None,
    progress: Callable[[str, str], None] = lambda key, what: None,
) -> FitAll:
    """Fit devices by key (``gtx-1080ti``, ``h100:bf16``; default: all that were measured).

    Each with cross-validation. What is not fitted is taken from the file that ships. ``progress``
    is called with a key and what is fitted now.

    Raises:
        GpuError: an unknown device, or one without measured layers.
    """
    import pandas as pd

    devices = [load_device(key) for key in (device_keys() if keys is None else keys)]
    fits: dict[str, Fit] = {}
    tables = []
    for device in devices:
        progress(device.key, "convolutions, leaving out one shape at a time")
        table = measured_layers(device)
        if not len(table):
            raise GpuError(f"no measured layers for device {device.key}: nothing to fit")
        result = fit_layers(device, table, _source(device))
        fits[device.key] = result.fit
        tables.append(result.held_out.assign(device=device.key))
    known = fits if keys is None else {**load_file().device, **fits}
    return FitAll(
        file=_others(devices, known, fits, progress),
        held_out=pd.concat(tables, ignore_index=True),
    )


def _source(device: Device) -> str:
    older = device.kernel_library == "cudnn-5-to-7"
    return "conv_layers_fp32.csv" if older else "h100_conv_layers.csv"


def _others(
    devices: Sequence[Device],
    known: Mapping[str, Fit],
    fits: Mapping[str, Fit],
    progress: Callable[[str, str], None],
) -> FitFile:
    steps: dict[str, Fitted] = {}
    for device in devices:
        progress(device.key, "the other operations of a step")
        fitted = fit_step(device, known)
        if fitted is not None:
            steps[device.key] = fitted
    nothing = FitFile(device={}, step={}, energy={}, sparse={})
    shipped = load_file() if len(fits) < len(known) else nothing
    all_steps = {**shipped.step, **steps}
    energy, sparse = dict(shipped.energy), dict(shipped.sparse)
    file = FitFile(device=known, step=all_steps, energy={}, sparse={})
    for device in devices:
        joules = fit_energy(device, measured_steps(device), file, _STEPS)
        if joules is not None:
            energy[device.key] = joules
        products = fit_sparse(device)
        if products is not None:
            sparse[device.name] = products
    return FitFile(device=known, step=all_steps, energy=energy, sparse=sparse)
