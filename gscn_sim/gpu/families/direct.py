"""Direct algorithm families: implicit matrix products over the pixels of a convolution.

Each family says to which layers and pass it applies and what it costs; the fastest one wins. N, C,
H, W, K, R, S, P, Q as everywhere; with groups, C and K below are those of one group.
"""

from __future__ import annotations

import numpy as np

from gscn_sim.gpu.coefficients import Cudnn5To7 as Coefficients
from gscn_sim.gpu.device import Device
from gscn_sim.gpu.families.base import (
    Cost,
    Flags,
    family,
    is_depthwise,
    is_pointwise,
    is_single_pixel,
    is_unit_stride,
)
from gscn_sim.gpu.families.depthwise import TAP_INSTRUCTIONS, depthwise_ms
from gscn_sim.gpu.families.gemm import Tiles, ceil_div, gemm_ms
from gscn_sim.gpu.layers import Array, Layers

LIBRARY = "cudnn-5-to-7"
IMPLICIT_TILES: Tiles = ((128, 128), (128, 64), (128, 32), (64, 128), (32, 128))
WGRAD_TILES: Tiles = ((128, 128), (64, 128))
WGRAD_TILES_SINCE_7: Tiles = (*WGRAD_TILES, (32, 128))
WGRAD_POINTWISE_TILES: dict[str, Tiles] = {
    "none": ((128, 128),),
    "channels": ((128, 128), (128, 64)),
    "filters": ((128, 128), (64, 128)),
}
STRIDED_PROLOGUE = 2.6
"""A strided dgrad tile's prologue against a plain one's: it finds out which pixels and taps meet.

Assumed; free fits of the five devices give 2.1 to 3.5.
"""
PIXELS_PER_LOAD = 8
"""wgrad reduces over the pixels of one image at a time, in aligned pieces of this many."""
WGRAD_LOAD_COST = 30.0
"""``load_cost`` of wgrad, whose operands both have to be transposed.

Assumed; free fits of the five devices give 26 to 32.
"""
WGRAD_EXPOSED_MEMORY = 0.4
"""Part of wgrad's DRAM time that computation does not hide.

Assumed. More of it would count what small layers, warm in L2, never pay.
"""


def _dense_ms(
    device: Device,
    c: Coefficients,
    m: Array,
    n: Array,
    k: Array,
    groups: Array,
    *,
    prologues: float = 1.0,
) -> Array:
    return gemm_ms(
        device,
        m,
        n,
        k,
        batch=groups,
        tiles=IMPLICIT_TILES,
        efficiency=c.gemm_efficiency,
        prologue_steps=prologues * c.prologue_steps,
        load_cost=c.load_cost,
    )


def _operands_once(
    layers: Layers, device: Device, compute_ms: Array, *, exposed: float | None = None
) -> Cost:
    """One kernel that moves each operand through DRAM once."""
    memory_ms = layers.operand_bytes / device.achieved_bytes_per_ms
    return Cost(
        compute_ms=compute_ms,
        memory_ms=memory_ms if exposed is None else memory_ms * exposed,
        launch_ms=np.full(len(layers), device.launch_overhead_us / 1e3),
        overlap=np.inf if exposed is None else 1.0,
    )


@family(LIBRARY)
class ImplicitGemm:
    """cuDNN's IMPLICIT_PRECOMP_GEMM: [K x CRS] by [CRS x NPQ]; dgrad: [C x KRS] by [KRS x NHW]."""

    name = "implicit_gemm"

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        if phase == "dgrad":
            return is_unit_stride(layers) & ~is_depthwise(layers)
        return ~is_depthwise(layers) & (phase == "forward")

    def cost(self, layers: Layers, phase: str, device: Device, c: Coefficients) -> Cost:
        filters, channels = layers.K / layers.groups, layers.C / layers.groups
        if phase == "dgrad":
            m, n, k = channels, layers.N * layers.H * layers.W, filters
        else:
            m, n, k = filters, layers.N * layers.P * layers.Q, channels
        taps = layers.R * layers.S
        return _operands_once(layers, device, _dense_ms(device, c, m, n, k * taps, layers.groups))


@family(LIBRARY)
class MatrixProduct:
    """A fully connected layer as one plain matrix product in every pass, its reduction split."""

    name = "matrix_product"

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        return is_single_pixel(layers)

    def cost(self, layers: Layers, phase: str, device: Device, c: Coefficients) -> Cost:
        sizes = {"N": layers.N, "C": layers.C / layers.groups, "K": layers.K / layers.groups}
        m, n, k = (
            sizes[axis] for axis in {"forward": "KNC", "dgrad": "CNK", "wgrad": "KCN"}[phase]
        )
        compute_ms = gemm_ms(
            device,
            m,
            n,
            k,
            batch=layers.groups,
            tiles=IMPLICIT_TILES,
            efficiency=c.gemm_efficiency,
            prologue_steps=c.prologue_steps,
            load_cost=c.load_cost,
            atomic_bytes_per_ms=c.atomic_gb_s * 1e6,
            atomic_when_unsplit=False,
        )
        return _operands_once(layers, device, compute_ms)


@family(LIBRARY)
class ZeroInsertedGemm:
    """dgrad of a strided layer as a dense convolution of the gradient with zeros inserted.

    The work is stride_h * stride_w times that of the forward pass. 1x1 filters meet whole rows of
    zeros, which measured times show to be skipped; larger ones do not.
    """

    name = "zero_inserted_gemm"

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        return ~is_unit_stride(layers) & ~is_depthwise(layers) & (phase == "dgrad")

    def cost(self, layers: Layers, phase: str, device: Device, c: Coefficients) -> Cost:
        steps = layers.K / layers.groups * layers.R * layers.S
        compute_ms = _dense_ms(
            device,
            c,
            layers.C / layers.groups,
            layers.N * layers.H * layers.W,
            np.where(is_pointwise(layers), steps / layers.stride_h, steps),
            layers.groups,
            prologues=STRIDED_PROLOGUE,
        )
        return _operands_once(layers, device, compute_ms)


@family(LIBRARY)
class ScatterGemm:
    """dgrad as [CRS x K] by [K x NPQ], every product added atomically to its input pixel.

    Serves strided layers and few channels. Not offered for 1x1 filters: measured times of strided
    1x1 layers exclude it.
    """

    name = "scatter_gemm"

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        return ~is_pointwise(layers) & ~is_depthwise(layers) & (phase == "dgrad")

    def cost(self, layers: Layers, phase: str, device: Device, c: Coefficients) -> Cost:
        rows = layers.C / layers.groups * layers.R * layers.S
        pixels = layers.N * layers.P * layers.Q
        gemm = _dense_ms(device, c, rows, pixels, layers.K / layers.groups, layers.groups)
        scatter = 4 * rows * layers.groups * pixels / (c.atomic_gb_s * 1e6)
        return _operands_once(layers, device, gemm + scatter)


@family(LIBRARY)
class PhasedGemm:
    """dgrad of a strided layer as stride_h * stride_w dense products, one a phase of the stride.

    No zeros are inserted: each pixel of the input's gradient meets only the filter entries that
    reach it. In measurements with cuDNN 7 only, and not with 1x1 filters.
    """

    name = "phased_gemm"

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        return (
            ~is_unit_stride(layers)
            & ~is_pointwise(layers)
            & ~is_depthwise(layers)
            & (phase == "dgrad")
            & (device.cudnn >= 7)
        )

    def cost(self, layers: Layers, phase: str, device: Device, c: Coefficients) -> Cost:
        phases = layers.stride_h * layers.stride_w
        pixels = ceil_div(layers.H, layers.stride_h) * ceil_div(layers.W, layers.stride_w)
        steps = layers.K / layers.groups * layers.R * layers.S / phases
        compute_ms = _dense_ms(
            device,
            c,
            layers.C / layers.groups,
            layers.N * pixels,
            steps,
            layers.groups * phases,
            prologues=STRIDED_PROLOGUE,
        )
        return _operands_once(layers, device, compute_ms)


@family(LIBRARY)
class SplitReductionGemm:
    """wgrad as [K x NPQ] by [NPQ x CRS], the reduction split over 1, 2, 4, ... tiles.

    An SM computes whole tiles, and each tile adds its outputs to memory at a low rate. 1x1 filters
    are served by other tile sizes than larger ones; which side of theirs may be 64 wide, if any,
    depends on what was compiled for the chip (``wgrad_narrow_side`` of the device).
    """

    name = "split_reduction_gemm"

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        return ~is_depthwise(layers) & (phase == "wgrad")

    def cost(self, layers: Layers, phase: str, device: Device, c: Coefficients) -> Cost:
        steps = layers.N * ceil_div(layers.P * layers.Q, PIXELS_PER_LOAD) * PIXELS_PER_LOAD

        def compute_ms(tiles: Tiles) -> Array:
            return gemm_ms(
                device,
                layers.K / layers.groups,
                layers.C / layers.groups * layers.R * layers.S,
                steps,
                batch=layers.groups,
                tiles=tiles,
                efficiency=c.wgrad_gemm_efficiency,
                prologue_steps=c.prologue_steps,
                load_cost=WGRAD_LOAD_COST,
                atomic_bytes_per_ms=c.partial_sum_gb_s * 1e6,
                whole_waves=True,
            )

        pointwise = WGRAD_POINTWISE_TILES[device.wgrad_narrow_side]
        others = WGRAD_TILES_SINCE_7 if device.cudnn >= 7 else WGRAD_TILES
        best = np.where(is_pointwise(layers), compute_ms(pointwise), compute_ms(others))
        return _operands_once(layers, device, best, exposed=WGRAD_EXPOSED_MEMORY)


@family(LIBRARY)
class Depthwise:
    """Depthwise layers, which none of the five cards was measured on: instructions over lanes."""

    name = "depthwise"

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        return is_depthwise(layers)

    def cost(self, layers: Layers, phase: str, device: Device, c: Coefficients) -> Cost:
        return _operands_once(layers, device, depthwise_ms(layers, phase, device, TAP_INSTRUCTIONS))
