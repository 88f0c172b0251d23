"""The fitted coefficients: what each one means and its plausible range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from gscn_sim.gpu.errors import GpuError


def _coefficient(low: float, typical: float, high: float, meaning: str) -> Any:
    return field(metadata={"low": low, "typical": typical, "high": high, "meaning": meaning})


@dataclass(frozen=True, kw_only=True, slots=True)
class Coefficients:
    """The numbers fitted for a device and precision; each library of algorithms has its own.

    ``low`` and ``high`` bound the fit; ``typical`` is where it starts and what it is drawn to when
    the measurements do not decide.
    """

    def __post_init__(self) -> None:
        for f in fields(self):
            value, low, high = getattr(self, f.name), f.metadata["low"], f.metadata["high"]
            if not low <= value <= high:
                raise GpuError(f"{f.name} must be from {low} to {high}, got {value}")

    @classmethod
    def table(cls) -> list[tuple[str, float, float, float, str]]:
        """Name, lowest, typical and highest value and meaning of every coefficient."""
        keys = ("low", "typical", "high", "meaning")
        return [(f.name, *(f.metadata[key] for key in keys)) for f in fields(cls)]

    @classmethod
    def typical(cls) -> Self:
        """The values a fit starts from."""
        return cls(**{name: typical for name, _, typical, _, _ in cls.table()})


@dataclass(frozen=True, kw_only=True, slots=True)
class Cudnn5To7(Coefficients):
    """cuDNN 5 to 7 on CUDA cores, fp32.

    Efficiencies are relative to the peak at nominal boost clock: cards in the table sustained up to
    1.1 times that clock, and operand loads are charged apart.
    """

    gemm_efficiency: float = _coefficient(
        0.7, 1.1, 1.4, "rate of an implicit GEMM's inner loop / peak, loads not counted"
    )
    prologue_steps: float = _coefficient(
        10, 50, 120, "reduction steps that a tile's prologue and epilogue take"
    )
    load_cost: float = _coefficient(
        1, 12, 40, "multiply-adds' time to load one operand of a reduction step, forward and dgrad"
    )
    wgrad_gemm_efficiency: float = _coefficient(
        0.6, 1.5, 2.2, "rate of the inner loop of wgrad's split-K GEMM / peak, loads not counted"
    )
    atomic_gb_s: float = _coefficient(
        60, 190, 1500, "bytes added atomically a second by a scattering dgrad or a split product"
    )
    partial_sum_gb_s: float = _coefficient(
        10, 35, 200, "bytes a second at which wgrad's tiles add their outputs to memory"
    )
    fused_winograd_efficiency: float = _coefficient(
        0.4, 0.85, 1.1, "rate of the fused F(2x2,3x3) kernel's multiplications / peak"
    )
    transformed_gemm_efficiency: float = _coefficient(
        0.7,
        1.0,
        1.45,
        "rate of the batched GEMM on Winograd-transformed tiles / peak, without loads",
    )
    transform_bandwidth: float = _coefficient(
        0.5, 1.0, 4.0, "bytes a second moved by transforms / DRAM peak (above 1: partly from L2)"
    )
    wgrad_transform_bandwidth: float = _coefficient(
        0.3, 0.8, 4.0, "transform_bandwidth of wgrad, whose transforms also transpose"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Cudnn9Tensor(Coefficients):
    """cuDNN 9 on tensor cores, NHWC; TF32 or bf16."""

    mma_efficiency: float = _coefficient(
        0.6, 0.9, 1.0, "rate of a tile's multiply-adds / tensor-core peak, forward and dgrad"
    )
    wgrad_mma_efficiency: float = _coefficient(
        0.3, 0.7, 1.0, "the same in wgrad, whose operands have to be transposed"
    )
    operand_gb_s: float = _coefficient(
        4000, 14000, 25000, "operands and partial sums through L2, all SMs, copies for several too"
    )
    wgrad_operand_gb_s: float = _coefficient(
        3000, 10000, 25000, "operand_gb_s of wgrad, whose operands have to be transposed"
    )
    prologue_us: float = _coefficient(0.3, 1.5, 5, "a tile's start and end")
    launch_us: float = _coefficient(1.5, 3.5, 8, "least time of a convolution kernel")
    plain_launch_us: float = _coefficient(1, 2.5, 6, "least time of a matrix product's kernel")
    dram_fraction: float = _coefficient(0.5, 0.8, 1.0, "part of the DRAM peak that streams reach")
    reduction_us: float = _coefficient(1, 5, 15, "least time of adding up wgrad's partial sums")
    strided_us: float = _coefficient(0.5, 4, 15, "clearing and phases of a strided dgrad")
    older_slowdown: float = _coefficient(
        1.1, 1.7, 2.5, "time of kernels made for the previous generation / of this one's"
    )
    depthwise_tap_instructions: float = _coefficient(
        2, 7, 20, "instructions a lane spends on a tap of a depthwise layer"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Cudnn9Fp32(Coefficients):
    """cuDNN 9 on CUDA cores, NCHW, fp32."""

    gemm_efficiency: float = _coefficient(
        0.6, 1.0, 1.2, "rate of forward's inner loop / peak, loads not counted"
    )
    dgrad_efficiency: float = _coefficient(
        0.3, 0.57, 1.0, "the same in dgrad, strided or scattered too"
    )
    wgrad_efficiency: float = _coefficient(0.3, 0.57, 1.0, "the same in a direct wgrad")
    prologue_steps: float = _coefficient(
        10, 50, 120, "reduction steps that a tile's prologue and epilogue take"
    )
    launch_us: float = _coefficient(1.5, 4.5, 10, "least time of a forward or dgrad kernel")
    wgrad_launch_us: float = _coefficient(
        3, 9, 20, "least time of wgrad, which clears its sums first"
    )
    dram_fraction: float = _coefficient(0.4, 0.8, 1.0, "part of the DRAM peak that streams reach")
    wgrad_dram_fraction: float = _coefficient(
        0.15, 0.35, 1.0, "the same of wgrad, in pieces and added to its computation"
    )
    partial_sum_gb_s: float = _coefficient(
        100, 800, 4000, "bytes a second at which split or scattered sums are added in memory"
    )
    transformed_gemm_efficiency: float = _coefficient(
        0.3, 0.8, 1.2, "rate of batched products of transformed tiles / peak, loads not counted"
    )
    transform_bandwidth: float = _coefficient(
        0.3, 0.75, 2.0, "bytes a second moved by Winograd transforms / DRAM peak"
    )
    depthwise_tap_instructions: float = _coefficient(
        5, 14, 40, "instructions a lane spends on a tap of a depthwise layer"
    )


LIBRARIES: Mapping[str, type[Coefficients]] = {
    "cudnn-5-to-7": Cudnn5To7,
    "cudnn-9-fp32": Cudnn9Fp32,
    "cudnn-9-tensor": Cudnn9Tensor,
}
"""The coefficients of each library of algorithms, by the name that device files give it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepCoefficients(Coefficients):
    """What bounds the operations of a training step that are no convolutions.

    Fractions are of the DRAM peak and of the bytes that an operation's tensors have.
    """

    stream_fraction: float = _coefficient(
        0.3, 0.85, 1.0, "element-wise operations: ReLU, additions, dropout, filling"
    )
    bias_fraction: float = _coefficient(
        0.2, 0.65, 1.0, "bias of a convolution: added to the output, summed in the backward pass"
    )
    norm_forward_fraction: float = _coefficient(0.2, 0.7, 1.0, "batch-norm, which reads twice")
    norm_backward_fraction: float = _coefficient(
        0.2, 0.7, 1.0, "its backward pass, which reads both operands twice"
    )
    pool_forward_fraction: float = _coefficient(0.1, 0.7, 1.2, "pooling, window by window")
    pool_backward_fraction: float = _coefficient(
        0.03, 0.3, 1.0, "its backward pass, which clears the result and searches the maxima"
    )
    optimizer_fraction: float = _coefficient(0.2, 0.75, 1.0, "passes of the optimizer")
    cast_fraction: float = _coefficient(0.1, 0.4, 1.0, "casts to and from 16 bits")
    matmul_efficiency: float = _coefficient(
        0.1, 0.6, 1.2, "rate of matrix products / peak, where their bytes do not bind"
    )
    kernel_us: float = _coefficient(1.0, 2.5, 12, "least time of a kernel")
    host_forward_us: float = _coefficient(
        5, 40, 120, "host's time to issue an operation, forward; binds where kernels are short"
    )
    host_backward_us: float = _coefficient(5, 55, 150, "the same, backward")


@dataclass(frozen=True, kw_only=True, slots=True)
class EnergyCoefficients(Coefficients):
    """Joules of a step in one precision: idle power over its time, multiplications, bytes."""

    idle_w: float = _coefficient(20, 120, 300, "power of the card while it waits")
    pj_per_multiplication: float = _coefficient(
        0.3, 4, 60, "energy of a multiply-add, transformed convolutions having fewer"
    )
    pj_per_byte: float = _coefficient(
        20, 220, 1500, "energy of a byte that an operation moves, and of what is done with it"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SparseCoefficients(Coefficients):
    """A product with a sparse gradient by the card's own library (CSR, fp32)."""

    product_gflop_s: float = _coefficient(
        50, 1500, 20000, "rate of the products of non-zeros, where these bind"
    )
    gather_fraction: float = _coefficient(
        0.05, 0.5, 3.0, "part of the DRAM peak at which rows of the dense operand are gathered"
    )
    stream_fraction: float = _coefficient(
        0.05, 0.6, 1.0, "part of the DRAM peak that reading and writing dense operands reaches"
    )
    fold_fraction: float = _coefficient(
        0.05, 0.4, 1.0, "the same of folding and unfolding (col2im, im2col)"
    )
    convert_fraction: float = _coefficient(
        0.05, 0.5, 1.0, "the same of reading the gradient to convert it"
    )
    convert_us: float = _coefficient(20, 110, 400, "least time of a conversion, in several kernels")
    kernel_us: float = _coefficient(2, 25, 80, "least time of a sparse product")
