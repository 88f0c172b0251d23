"""Families of cuDNN 9 on tensor cores: NHWC, operands through shared memory, tiles in waves.

Which families exist, and where each stops,
was read from the kernels' names in the measurements (``sm90_xmma_*``, ``cutlass_80_*``,
``wgrad_alg0_engine_NHWC``, ``*_c1_k1_nhwc``).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gscn_sim.gpu.coefficients import Cudnn9Tensor
from gscn_sim.gpu.device import Device
from gscn_sim.gpu.families.base import (
    Cost,
    Flags,
    family,
    is_depthwise,
    is_pointwise,
    is_undilated,
    is_unit_stride,
)
from gscn_sim.gpu.families.gemm import ceil_div
from gscn_sim.gpu.families.outer import OuterProduct
from gscn_sim.gpu.families.tensor_products import (
    FEW_CHANNELS,
    filter_product_ms,
    pixel_product_ms,
)
from gscn_sim.gpu.layers import Array, Layers

LIBRARY = "cudnn-9-tensor"
OVERLAP = 3.0
"""How well DRAM traffic hides behind computation (see ``Cost``). Assumed."""
PLAIN_PROLOGUE = 0.5
"""A plain product's prologue against a convolution's. Assumed."""
MOST_TAPS, WIDEST = 32, 16
"""Filters with more taps, or wider with their dilation, run on kernels made for older cards."""
FOLDED_STRIDE = 4
"""Least stride at which folding was seen in wgrad; in dgrad it serves stride 2 too."""
FOLDING_BYTES = 16
"""Bytes that folding moves an element of the image: padded and rearranged, read and written."""
DIRECT_EFFICIENCY = 0.3
"""Rate of direct convolution of few channels / CUDA-core peak. Assumed."""
PACKED_CHANNELS, PACKED_SPEEDUP = 4, 2.0
"""wgrad in 16 bits pads channels to four and then has twice the rate. Assumed."""
DEPTHWISE_DGRAD = (1.3, 1.7)
"""What an input's taps cost in dgrad against an output's in forward: stride 1, other strides."""
DEPTHWISE_START = 3.5
"""What one output of a depthwise layer costs beside its taps, in taps."""


def operand_bytes(layers: Layers, phase: str, device: Device) -> Array:
    """DRAM bytes, each operand moved once; a strided 1x1 layer touches only the pixels it needs."""
    strides = np.where(is_pointwise(layers), layers.stride_h * layers.stride_w, 1.0)
    touched = layers.input_elements / strides
    if phase == "dgrad":  # the other pixels are zeros, written beforehand
        touched = np.where(strides > 1, 1 + 1 / strides, 1.0) * layers.input_elements
    return np.asarray(
        device.element_bytes * (touched + layers.weight_elements + layers.output_elements)
    )


def is_beyond_sm90(layers: Layers) -> Flags:
    """Filters that the kernels made for this card do not take."""
    reach = np.maximum((layers.R - 1) * layers.dilation_h, (layers.S - 1) * layers.dilation_w)
    return np.asarray((layers.R * layers.S > MOST_TAPS) | (reach > WIDEST))


def _has_sm90(layers: Layers) -> Flags:
    few = (layers.C <= FEW_CHANNELS) & ~is_pointwise(layers)
    return ~is_beyond_sm90(layers) & ~few & ~is_depthwise(layers)


def _lacks_tf32_wgrad(layers: Layers, device: Device) -> Flags:
    """Groups and dilation, for which wgrad has kernels of this card in 16 bits only."""
    unusual = (layers.groups > 1) | ~is_undilated(layers)
    return unusual & ~is_depthwise(layers) & (device.element_bytes == 4)


def _cost(
    layers: Layers,
    phase: str,
    device: Device,
    c: Cudnn9Tensor,
    compute_ms: Array,
    launch_us: float | None = None,
) -> Cost:
    memory_ms = operand_bytes(layers, phase, device) / (device.bytes_per_ms * c.dram_fraction)
    return Cost(
        compute_ms=compute_ms,
        memory_ms=memory_ms,
        launch_ms=np.full(len(layers), (c.launch_us if launch_us is None else launch_us) / 1e3),
        overlap=OVERLAP,
    )


@family(LIBRARY)
class TensorConvolution:
    """Kernels made for this card: forward, and dgrad at stride 1 or by phases of the stride."""

    name = "tensor_implicit_gemm"

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        grouped = (layers.groups > 1) & ~is_unit_stride(layers) & (phase == "dgrad")
        return _has_sm90(layers) & ~grouped & (phase != "wgrad")

    def cost(self, layers: Layers, phase: str, device: Device, c: Cudnn9Tensor) -> Cost:
        prologue_ms = c.prologue_us / 1e3
        compute_ms = pixel_product_ms(layers, phase, device, c, prologue_ms=prologue_ms)
        cost = _cost(layers, phase, device, c, compute_ms)
        if phase != "dgrad":
            return cost
        strided = np.where(is_unit_stride(layers), 0.0, c.strided_us / 1e3)
        return Cost(
            compute_ms=cost.compute_ms,
            memory_ms=cost.memory_ms,
            launch_ms=cost.launch_ms + strided,
            overlap=cost.overlap,
        )


@family(LIBRARY)
class TensorFilterGradient:
    """wgrad by kernels made for this card."""

    name = "tensor_split_gemm"

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        return _has_sm90(layers) & ~_lacks_tf32_wgrad(layers, device) & (phase == "wgrad")

    def cost(self, layers: Layers, phase: str, device: Device, c: Cudnn9Tensor) -> Cost:
        compute_ms = filter_product_ms(
            layers, device, c, prologue_ms=c.prologue_us / 1e3, reduction_us=c.reduction_us
        )
        return _cost(layers, phase, device, c, compute_ms)


@family(LIBRARY)
class TensorMatrixProduct:
    """1x1 layers at stride 1 as plain matrix products, which start faster."""

    name = "tensor_matrix_product"

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        unpadded = (layers.pad_h == 0) & (layers.pad_w == 0)
        return is_pointwise(layers) & is_unit_stride(layers) & unpadded & (layers.groups == 1)

    def cost(self, layers: Layers, phase: str, device: Device, c: Cudnn9Tensor) -> Cost:
        prologue_ms = PLAIN_PROLOGUE * c.prologue_us / 1e3
        if phase == "wgrad":
            compute_ms = filter_product_ms(
                layers,
                device,
                c,
                prologue_ms=prologue_ms,
                reduction_us=PLAIN_PROLOGUE * c.reduction_us,
            )
        else:
            compute_ms = pixel_product_ms(layers, phase, device, c, prologue_ms=prologue_ms)
        return _cost(layers, phase, device, c, compute_ms, c.plain_launch_us)


family(LIBRARY)(OuterProduct)


@family(LIBRARY)
class OlderTensorKernel:
    """Kernels made for the previous generation: any filter, at a part of the rate.

    Few channels are padded to 16 bytes by a copy before.
    """

    name = "tensor_sm80"

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        few = (layers.C / layers.groups <= FEW_CHANNELS) & ~is_depthwise(layers)
        grouped = (layers.groups > 1) & ~is_depthwise(layers)
        if phase == "dgrad":
            return is_beyond_sm90(layers) | few | (grouped & ~is_unit_stride(layers))
        if phase == "wgrad":
            return (is_beyond_sm90(layers) & ~few) | _lacks_tf32_wgrad(layers, device)
        return is_beyond_sm90(layers) & ~few

    def cost(self, layers: Layers, phase: str, device: Device, c: Cudnn9Tensor) -> Cost:
        prologue_ms = c.prologue_us / 1e3
        if phase == "wgrad":
            compute_ms = filter_product_ms(
                layers, device, c, prologue_ms=prologue_ms, reduction_us=c.reduction_us
            )
        else:
            compute_ms = pixel_product_ms(layers, phase, device, c, prologue_ms=prologue_ms)
        return _cost(layers, phase, device, c, compute_ms * c.older_slowdown)


@family(LIBRARY)
class FoldedStride:
    """Strided layers of few channels: a stride's pixels become channels, then stride 1.

    The image is rearranged by a copy before or after.
    """

    name = "tensor_folded"

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        few = (layers.C <= FEW_CHANNELS) & (layers.groups == 1)
        least = FOLDED_STRIDE if phase == "wgrad" else 2
        steep = np.minimum(layers.stride_h, layers.stride_w) >= least
        return few & steep & (phase != "forward")

    def cost(self, layers: Layers, phase: str, device: Device, c: Cudnn9Tensor) -> Cost:
        folded = replace(
            layers,
            C=layers.C * layers.stride_h * layers.stride_w,
            H=ceil_div(layers.H, layers.stride_h),
            W=ceil_div(layers.W, layers.stride_w),
            R=ceil_div(layers.R, layers.stride_h),
            S=ceil_div(layers.S, layers.stride_w),
            pad_h=ceil_div(ceil_div(layers.R, layers.stride_h) - 1, 2),
            pad_w=ceil_div(ceil_div(layers.S, layers.stride_w) - 1, 2),
            stride_h=np.ones(len(layers)),
            stride_w=np.ones(len(layers)),
        )
        cost = OlderTensorKernel().cost(folded, phase, device, c)
        copied = FOLDING_BYTES * folded.input_elements
        copy_ms = copied / (device.bytes_per_ms * c.dram_fraction)
        return Cost(
            compute_ms=cost.compute_ms,
            memory_ms=cost.memory_ms,
            launch_ms=cost.launch_ms + c.reduction_us / 1e3 + copy_ms,
            overlap=cost.overlap,
        )


@family(LIBRARY)
class FewChannels:
    """First layers of one to four channels: direct convolution on the CUDA cores."""

    name = "cuda_core_direct"

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        few = (layers.C <= FEW_CHANNELS) & ~is_depthwise(layers)
        return few & (phase != "dgrad")

    def cost(self, layers: Layers, phase: str, device: Device, c: Cudnn9Tensor) -> Cost:
        compute_ms = layers.flops / (device.cuda_flops_per_ms * DIRECT_EFFICIENCY)
        if phase == "wgrad" and device.element_bytes == 2:  # pairs of pairs of channels
            compute_ms = compute_ms * (PACKED_CHANNELS / PACKED_SPEEDUP) / layers.C
        cost = _cost(layers, phase, device, c, compute_ms)
        if phase != "wgrad":
            return cost
        return Cost(
            compute_ms=cost.compute_ms,
            memory_ms=cost.memory_ms,
            launch_ms=cost.launch_ms + 3 * c.reduction_us / 1e3,
            overlap=cost.overlap,
        )


@family(LIBRARY)
class DepthwiseNhwc:
    """Depthwise layers: every output adds up its taps, every input in dgrad, all on CUDA cores."""

    name = "depthwise"

    def applies(self, layers: Layers, phase: str, device: Device) -> Flags:
        return is_depthwise(layers)

    def cost(self, layers: Layers, phase: str, device: Device, c: Cudnn9Tensor) -> Cost:
        pixels = layers.input_elements if phase == "dgrad" else layers.output_elements
        if phase == "dgrad":
            pixels = pixels * np.where(is_unit_stride(layers), *DEPTHWISE_DGRAD)
        work = pixels * (layers.R * layers.S + DEPTHWISE_START) * c.depthwise_tap_instructions
        cost = _cost(layers, phase, device, c, work / device.lanes_per_ms)
        if phase != "wgrad":
            return cost
        return Cost(
            compute_ms=cost.compute_ms,
            memory_ms=cost.memory_ms,
            launch_ms=cost.launch_ms + PLAIN_PROLOGUE * c.reduction_us / 1e3,
            overlap=cost.overlap,
        )
