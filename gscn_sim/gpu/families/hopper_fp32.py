"""Families of cuDNN 9 on CUDA cores: fp32, NCHW, on a card of many cores and a large L2.

Which families exist, and where each stops, was read from the kernels' names in the measurements
(``sm80_xmma_*_f32f32``, ``dgrad_engine``, ``wgrad_alg0_engine``, ``fft2d_*``,
``winogradWgrad*4x4``, ``conv_depthwise2d_*``).
"""

from __future__ import annotations

import numpy as np

from gscn_sim.gpu.coefficients import Cudnn9Fp32
from gscn_sim.gpu.device import Device
from gscn_sim.gpu.families.base import (
    Cost,
    Flags,
    family,
    is_depthwise,
    is_pointwise,
    is_single_pixel,
    is_undilated,
    is_unit_stride,
)
from gscn_sim.gpu.families.depthwise import depthwise_ms
from gscn_sim.gpu.families.gemm import Tiles, busiest_waves, ceil_div, grid
from gscn_sim.gpu.families.outer import OuterProduct
from gscn_sim.gpu.layers import Array, Layers

LIBRARY = "cudnn-9-fp32"
OVERLAP = 3.0
"""How well DRAM traffic hides behind computation (see ``Cost``). Assumed."""
TILES: Tiles = (
    *((128, 128), (64, 128), (128, 64), (64, 64), (32, 32)),
    *((32, 64), (64, 32), (128, 32), (32, 128)),
)
WGRAD_TILES: Tiles = ((64, 128), (128, 128), (32, 32))
BATCHED_TILES: Tiles = ((128, 128), (64, 128), (64, 64), (32, 64), (64, 32), (32, 32))
SPLITS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
STEP = 8
"""Reduction steps that a tile's loop takes at once: shorter reductions are padded."""
FETCHED = 32
"""Reduction steps fetched ahead: a shorter reduction has a shorter prologue. Assumed."""
LEAST_SPLIT = 64
"""Shortest reduction that a split may leave to one tile."""
FILLED_OUTPUTS = 6144
"""Outputs in flight that an SM needs to reach its rate: four tiles of 32x32. Assumed."""
FORWARD_LOADS = 45.0
"""Multiply-adds' time to load one operand of a reduction step in forward. Assumed."""
BACKWARD_LOADS = 8.0
"""The same of dgrad and wgrad, whose slower inner loops hide more. Assumed."""
WGRAD_PROLOGUE = 0.5
"""Prologue of wgrad against that of the other passes. Assumed."""
BATCHED_LOADS = 20.0
"""The same of products of transformed tiles. Assumed."""
STRIDED_SLOWDOWN = 1.17
"""Time of a strided dgrad's products against plain ones. Assumed."""
FOURIER_BANDWIDTH = 0.55
"""Bandwidth of Fourier transforms against Winograd's. Assumed."""
FEW_CHANNELS = 4
FEWEST_SAMPLES = 32
"""Forward transforms of 3x3 filters were offered from this many samples on."""


def product_ms(
    device: Device,
    m: Array,
    n: Array,
    k: Array,
    c: Cudnn9Fp32,
    *,
    rate: float,
    load_cost: float,
    batch: Array | float = 1.0,
    tiles: Tiles = TILES,
    splits: tuple[int, ...] = (1,),
    work: float = 1.0,
    filled_outputs: float = 0.0,
    least_split: int = 0,
    prologue: float = 1.0,
) -> Array:
    """``batch`` products of m x k and k x n by the best tile.

    A reduction step costs its multiply-adds (``work`` real ones in one) and the loads of its two
    operands; a tile also its prologue. Parts of a split reduction are added in memory.
    """
    rate_per_sm = device.peak_flops_per_ms / device.sms * rate
    rows, columns, split = grid(tiles, splits)
    slowdown = work + load_cost * np.sqrt(work) * (1 / rows + 1 / columns)
    count = ceil_div(m, rows) * ceil_div(n, columns) * batch
    outputs = np.maximum(busiest_waves(count * split, device) * rows * columns, filled_outputs)
    part = k / split
    steps = ceil_div(part, STEP) * STEP * slowdown
    steps = steps + prologue * c.prologue_steps * np.minimum(1, part / FETCHED)
    sums_ms = 4 * m * n * batch * split / (c.partial_sum_gb_s * 1e6)
    time_ms = 2 * outputs * steps / rate_per_sm + np.where(split > 1, sums_ms, 0.0)
    allowed = (split == 1) | (part >= least_split)
    return np.asarray(np.where(allowed, time_ms, np.inf).min(axis=0))


def moved_bytes(layers: Layers, phase: str) -> Array:
    """DRAM bytes, each operand moved once; of a strided 1x1 layer whole rows of pixels."""
    rows = np.where(is_pointwise(layers), layers.stride_h, 1.0)
    pixels = np.where(is_pointwise(layers), layers.stride_h * layers.stride_w, 1.0)
    touched = layers.input_elements / rows
    if phase == "dgrad":  # the other pixels are zeros, written beforehand
        touched = layers.input_elements * np.where(pixels > 1, 1 + 1 / pixels, 1.0)
    return np.asarray(4 * (touched + layers.weight_elements + layers.output_elements))


def _cost(layers: Layers, phase: str, device: Device, c: Cudnn9Fp32, compute_ms: Array) -> Cost:
    wgrad = phase == "wgrad"
    reached = c.wgrad_dram_fraction if wgrad else c.dram_fraction
    launch_us = c.wgrad_launch_us if wgrad else c.launch_us
    return Cost(
        compute_ms=compute_ms,
        memory_ms=moved_bytes(layers, phase) / (device.bytes_per_ms * reached),
        launch_ms=np.full(len(layers), launch_us / 1e3),
        overlap=1.0 if wgrad else OVERLAP,
    )


@family(LIBRARY)
class Fp32ImplicitGemm:
    """Forward and dgrad as a product over pixels; a strided dgrad by phases of the stride."""

    name = "implicit_gemm"

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        return ~is_depthwise(layers) & (phase != "wgrad")

    def cost(self, layers: Layers, phase: str, device: Device, c: Cudnn9Fp32) -> Cost:
        filters, channels = layers.K / layers.groups, layers.C / layers.groups
        taps = layers.R * layers.S
        if phase == "forward":
            compute_ms = product_ms(
                device, filters, layers.N * layers.P * layers.Q, channels * taps, c,
                rate=c.gemm_efficiency, load_cost=FORWARD_LOADS, batch=layers.groups,
            )  # fmt: skip
            return _cost(layers, phase, device, c, compute_ms)
        phases = np.where(is_pointwise(layers), 1.0, layers.stride_h * layers.stride_w)
        rows, columns = ceil_div(layers.H, layers.stride_h), ceil_div(layers.W, layers.stride_w)
        compute_ms = product_ms(
            device, channels, layers.N * rows * columns, filters * taps / phases, c,
            rate=c.dgrad_efficiency, load_cost=BACKWARD_LOADS, batch=phases * layers.groups,
        )  # fmt: skip
        slower = np.where(is_unit_stride(layers), 1.0, STRIDED_SLOWDOWN)
        return _cost(layers, phase, device, c, compute_ms * slower)


@family(LIBRARY)
class Fp32ScatterGemm:
    """dgrad as [channels x taps] by [pixels], every product added to its input pixel."""

    name = "scatter_gemm"

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        few = (layers.C <= FEW_CHANNELS) & ~is_pointwise(layers) & ~is_depthwise(layers)
        return few & (phase == "dgrad")

    def cost(self, layers: Layers, phase: str, device: Device, c: Cudnn9Fp32) -> Cost:
        rows, pixels = layers.C * layers.R * layers.S, layers.N * layers.P * layers.Q
        compute_ms = product_ms(
            device, rows, pixels, layers.K, c,
            rate=c.dgrad_efficiency, load_cost=BACKWARD_LOADS,
        )  # fmt: skip
        added_ms = 4 * rows * pixels / (c.partial_sum_gb_s * 1e6)
        return _cost(layers, phase, device, c, compute_ms + added_ms)


@family(LIBRARY)
class Fp32FilterGradient:
    """wgrad as [channels x taps] by [pixels], the reduction over pixels split."""

    name = "split_reduction_gemm"

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        return ~is_depthwise(layers) & ~is_single_pixel(layers) & (phase == "wgrad")

    def cost(self, layers: Layers, phase: str, device: Device, c: Cudnn9Fp32) -> Cost:
        compute_ms = product_ms(
            device,
            layers.C / layers.groups * layers.R * layers.S,
            layers.K / layers.groups,
            layers.N * layers.P * layers.Q,
            c,
            rate=c.wgrad_efficiency,
            load_cost=BACKWARD_LOADS,
            batch=layers.groups,
            tiles=WGRAD_TILES,
            splits=SPLITS,
            least_split=LEAST_SPLIT,
            prologue=WGRAD_PROLOGUE,
        )
        return _cost(layers, phase, device, c, compute_ms)


family(LIBRARY)(OuterProduct)


def _transformed(layers: Layers) -> Flags:
    return is_unit_stride(layers) & is_undilated(layers) & (layers.groups == 1)


def _transform_cost(
    layers: Layers, device: Device, c: Cudnn9Fp32, compute_ms: Array, values: Array, part: float
) -> Cost:
    """Transforms read the operands and write their ``values``, or the other way round."""
    operands = layers.input_elements + layers.output_elements + layers.weight_elements
    moved = 4 * (values + operands)
    return Cost(
        compute_ms=compute_ms,
        memory_ms=moved / (device.bytes_per_ms * c.transform_bandwidth * part),
        launch_ms=np.full(len(layers), 2.5 * c.launch_us / 1e3),
        overlap=1.0,
    )


@family(LIBRARY)
class Fp32WinogradFilterGradient:
    """wgrad of 3x3 filters as F(3x3, 4x4): 36 products for 144, four kernels."""

    name = "winograd_4x4"

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        return _transformed(layers) & (layers.R == 3) & (layers.S == 3) & (phase == "wgrad")

    def cost(self, layers: Layers, phase: str, device: Device, c: Cudnn9Fp32) -> Cost:
        tiles = layers.N * ceil_div(layers.P, 4) * ceil_div(layers.Q, 4)
        compute_ms = product_ms(
            device, layers.K, layers.C, tiles, c,
            rate=c.transformed_gemm_efficiency, load_cost=BATCHED_LOADS,
            batch=36.0, tiles=BATCHED_TILES, filled_outputs=FILLED_OUTPUTS,
        )  # fmt: skip
        values = 36 * (tiles * (layers.C + layers.K) + layers.C * layers.K)
        return _transform_cost(layers, device, c, compute_ms, values, 1.0)


@family(LIBRARY, 16)
@family(LIBRARY, 32)
class Fp32Fourier:
    """Real-to-complex transforms of size x size tiles, size * (size / 2 + 1) complex products each.

    One product a frequency and tile position, over the samples. 32x32 tiles overlap in dgrad and
    for large filters; else the image with its padding has to fit one tile. 16x16 tiles were seen in
    forward and wgrad only.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.name = f"fft_{size}x{size}"

    def _fits(self, layers: Layers) -> Flags:
        return np.asarray(np.maximum(layers.H + layers.R, layers.W + layers.S) - 1 <= self.size)

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        filters = (layers.R > 1) & (layers.S > 1) & (layers.R <= 11) & (layers.S <= 11)
        large = (layers.R * layers.S > 9) & (self.size == 32)
        if phase == "dgrad":
            offered = np.full(len(layers), self.size == 32)
        elif phase == "wgrad":
            offered = self._fits(layers) | large
        else:
            offered = (self._fits(layers) & (layers.N >= FEWEST_SAMPLES)) | large
        return np.asarray(_transformed(layers) & filters & offered)

    def cost(self, layers: Layers, phase: str, device: Device, c: Cudnn9Fp32) -> Cost:
        rows, columns = (layers.H, layers.W) if phase == "dgrad" else (layers.P, layers.Q)
        overlapping = ceil_div(rows, self.size - layers.R + 1) * ceil_div(
            columns, self.size - layers.S + 1
        )
        positions = np.where(self._fits(layers), 1.0, overlapping)
        frequencies = self.size * (self.size // 2 + 1)
        sizes = {
            "forward": (layers.K, layers.N, layers.C),
            "dgrad": (layers.C, layers.N, layers.K),
            "wgrad": (layers.K, layers.C, layers.N * positions),
        }
        m, n, k = sizes[phase]
        compute_ms = product_ms(
            device, m, n, k, c,
            rate=c.transformed_gemm_efficiency, load_cost=BATCHED_LOADS,
            batch=frequencies * np.where(phase == "wgrad", 1.0, positions),
            tiles=BATCHED_TILES, work=4.0, filled_outputs=FILLED_OUTPUTS,
        )  # fmt: skip
        tiles = layers.N * positions
        values = 2 * frequencies * (tiles * (layers.C + layers.K) + layers.C * layers.K)
        return _transform_cost(layers, device, c, compute_ms, values, FOURIER_BANDWIDTH)


@family(LIBRARY)
class DepthwiseNchw:
    """Depthwise layers, a thread an output (an input in dgrad), by PyTorch's own kernels."""

    name = "depthwise"

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        return is_depthwise(layers)

    def cost(self, layers: Layers, phase: str, device: Device, c: Cudnn9Fp32) -> Cost:
        work_ms = depthwise_ms(layers, phase, device, c.depthwise_tap_instructions)
        return Cost(
            compute_ms=work_ms,
            memory_ms=moved_bytes(layers, phase) / (device.bytes_per_ms * c.dram_fraction),
            launch_ms=np.full(len(layers), c.launch_us / 1e3),
            overlap=OVERLAP,
        )
