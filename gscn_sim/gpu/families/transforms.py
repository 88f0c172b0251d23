"""Algorithm families that multiply in a transformed domain: Winograd and Fourier.

They need fewer multiplications than the definition and pay with transforms, whose traffic is the
price where the transformed tiles go through memory. 3x3 (or up to 5x5) filters at stride 1 only.
"""

from __future__ import annotations

import numpy as np

from gscn_sim.gpu.coefficients import Cudnn5To7 as Coefficients
from gscn_sim.gpu.device import Device
from gscn_sim.gpu.families.base import Cost, Flags, family, is_undilated, is_unit_stride
from gscn_sim.gpu.families.direct import LIBRARY
from gscn_sim.gpu.families.gemm import Tiles, ceil_div, gemm_ms
from gscn_sim.gpu.layers import Array, Layers

FUSED_TILE: Tiles = ((32, 32),)
BATCHED_TILES: Tiles = (
    *((128, 128), (128, 64), (64, 128), (64, 64)),
    *((128, 32), (32, 128), (64, 32), (32, 64), (32, 32)),
)
COMPLEX_TILES: Tiles = ((64, 64), (64, 32), (32, 32), (64, 16), (32, 16), (16, 32), (16, 16))
COMPLEX_ISSUE_EFFICIENCY = 0.5
"""A complex product's rate against a real one's, beside its four multiplications."""


def _plain(layers: Layers) -> Flags:
    """Stride and dilation 1, no groups: the only layers that have transformed products."""
    return is_unit_stride(layers) & is_undilated(layers) & (layers.groups == 1)


def _output_tiles(layers: Layers, phase: str, size: int) -> Array:
    """Tiles of the result in forward and dgrad, of the output gradient in wgrad."""
    rows, columns = (layers.H, layers.W) if phase == "dgrad" else (layers.P, layers.Q)
    return layers.N * ceil_div(rows, size) * ceil_div(columns, size)


def _product_sizes(layers: Layers, phase: str, tiles: Array) -> tuple[Array, Array, Array]:
    """m, n, k of the product at each transformed point."""
    filters, channels = layers.K / layers.groups, layers.C / layers.groups
    if phase == "forward":
        return filters, tiles, channels
    if phase == "dgrad":
        return channels, tiles, filters
    return filters, channels, tiles


def _transform_ms(
    layers: Layers,
    phase: str,
    device: Device,
    c: Coefficients,
    tiles: Array,
    values_per_tile: float,
) -> Array:
    """Read and write the operands, and their transforms once each way through memory."""
    transformed = tiles * (layers.C + layers.K) + layers.C * layers.K / layers.groups
    values = 2 * values_per_tile * transformed
    reached = c.wgrad_transform_bandwidth if phase == "wgrad" else c.transform_bandwidth
    return (layers.operand_bytes + 4 * values) / (device.bytes_per_ms * reached)


@family(LIBRARY)
class FusedWinograd:
    """F(2x2, 3x3) in one kernel: 16 products for 36 multiply-adds, tiles stay in shared memory.

    Lavin and Gray 2016, arXiv 1509.09308. Only the filters' transform goes through memory.
    """

    name = "winograd_2x2_fused"

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        return _plain(layers) & (layers.R == 3) & (layers.S == 3) & (phase != "wgrad")

    def cost(self, layers: Layers, phase: str, device: Device, c: Coefficients) -> Cost:
        m, n, k = _product_sizes(layers, phase, _output_tiles(layers, phase, 2))
        compute_ms = gemm_ms(
            device,
            m,
            n,
            k,
            batch=layers.groups,
            tiles=FUSED_TILE,
            efficiency=c.fused_winograd_efficiency,
            prologue_steps=c.prologue_steps / 2,
            load_cost=0.0,
            outputs_per_entry=16,
        )
        launch_ms = device.launch_overhead_us / 1e3
        filters_bytes = 4 * 2 * 16 / 9 * layers.weight_elements
        filters_ms = filters_bytes / (device.bytes_per_ms * c.transform_bandwidth)
        return Cost(
            compute_ms=compute_ms,
            memory_ms=layers.operand_bytes / device.achieved_bytes_per_ms,
            launch_ms=2 * launch_ms + filters_ms,
            overlap=np.inf,
        )


@family(LIBRARY, filter_size=5, output_size=2)
@family(LIBRARY, filter_size=3, output_size=4)
class NonfusedWinograd:
    """F(4x4, 3x3) and F(2x2, 5x5): 6x6 tiles, four kernels, transformed tiles go through memory.

    3x3 in forward and dgrad in all measurements; 5x5, and wgrad, only in those with cuDNN 6 and 7.
    """

    POINTS = 36

    def __init__(self, *, filter_size: int, output_size: int) -> None:
        self.filter_size, self.output_size = filter_size, output_size
        self.name = f"winograd_{output_size}x{output_size}"

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        since = 5 if self.filter_size == 3 and phase != "wgrad" else 6
        fits = (self.filter_size == layers.R) & (self.filter_size == layers.S)
        return _plain(layers) & fits & (device.cudnn >= since)

    def cost(self, layers: Layers, phase: str, device: Device, c: Coefficients) -> Cost:
        tiles = _output_tiles(layers, phase, self.output_size)
        m, n, k = _product_sizes(layers, phase, tiles)
        compute_ms = gemm_ms(
            device,
            m,
            n,
            k,
            batch=self.POINTS * layers.groups,
            tiles=BATCHED_TILES,
            efficiency=c.transformed_gemm_efficiency,
            prologue_steps=c.prologue_steps,
            load_cost=c.load_cost,
        )
        return Cost(
            compute_ms=compute_ms,
            memory_ms=_transform_ms(layers, phase, device, c, tiles, self.POINTS),
            launch_ms=np.full(len(layers), 4 * device.launch_overhead_us / 1e3),
            overlap=1.0,
        )


@family(LIBRARY, 16)
@family(LIBRARY, 32)
class FourierTiles:
    """Real-to-complex transforms of size x size tiles: size * (size/2 + 1) complex products each.

    A padded image that fits one tile takes one; larger ones overlap by the filter. Mathieu, Henaff
    and LeCun 2013, arXiv 1312.5851; cuDNN's FFT and FFT_TILING.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.frequencies = size * (size // 2 + 1)
        self.name = f"fft_{size}x{size}"

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        one = layers.R * layers.S == 1
        return _plain(layers) & ~one & (layers.R <= 5) & (layers.S <= 5)

    def cost(self, layers: Layers, phase: str, device: Device, c: Coefficients) -> Cost:
        overlapping = layers.N * (
            ceil_div(layers.P, self.size - np.minimum(layers.R, 5) + 1)
            * ceil_div(layers.Q, self.size - np.minimum(layers.S, 5) + 1)
        )
        padded = np.maximum(layers.H + 2 * layers.pad_h, layers.W + 2 * layers.pad_w)
        tiles = np.where(padded <= self.size, layers.N, overlapping)
        m, n, k = _product_sizes(layers, phase, tiles)
        compute_ms = gemm_ms(
            device,
            m,
            n,
            k,
            batch=self.frequencies * layers.groups,
            tiles=COMPLEX_TILES,
            efficiency=c.transformed_gemm_efficiency * COMPLEX_ISSUE_EFFICIENCY / 4,
            prologue_steps=c.prologue_steps / 2,
            load_cost=c.load_cost,
        )
        return Cost(
            compute_ms=compute_ms,
            memory_ms=_transform_ms(layers, phase, device, c, tiles, 2 * self.frequencies),
            launch_ms=np.full(len(layers), 4 * device.launch_overhead_us / 1e3),
            overlap=1.0,
        )
