"""Whether a design is of the size of the GPU beside it."""

from __future__ import annotations

from gscn_sim.config import Config
from gscn_sim.gpu.device import find_device
from gscn_sim.results.sizes import ALIKE, design_sizes


def size_beside_gpu(config: Config, gpu: str) -> str:
    """A sentence if the design's peak or bandwidth is not the GPU's, else nothing."""
    device = find_device(gpu)
    ratios = {
        "peak multiply-adds": config.peak_macs_per_second / (device.peak_flops_per_ms / 2 * 1e3),
        "DRAM bandwidth": design_sizes(config)["DRAM bandwidth"] / device.bandwidth_gb_s,
    }
    unlike = [f"{ratio:.3g} times its {name}" for name, ratio in ratios.items() if _differs(ratio)]
    return f"Not of the GPU's size: {config.name} has {' and '.join(unlike)}." if unlike else ""


def _differs(ratio: float) -> bool:
    return abs(ratio - 1) > ALIKE
