"""What is known about PyTorch's operations: their class, what they read, their multiply-adds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry

from workloads.step import Kind

_NAMES: Mapping[Kind, str] = {
    "convolution": "convolution _convolution cudnn_convolution mkldnn_convolution",
    "matmul": "mm addmm bmm baddbmm mv addmv dot vdot addbmm _scaled_mm",
    "normalisation": (
        "native_batch_norm _native_batch_norm_legit _batch_norm_with_update batch_norm "
        "cudnn_batch_norm native_layer_norm native_group_norm _fused_rms_norm"
    ),
    "activation": (
        "relu threshold hardtanh relu6 silu gelu hardswish hardsigmoid sigmoid tanh leaky_relu elu "
        "_prelu_kernel softplus mish celu log_sigmoid_forward log_sigmoid hardshrink softshrink "
        "glu rrelu_with_noise _softmax _safe_softmax _log_softmax native_dropout"
    ),
    "addition": "add sub rsub sum",
    "pooling": (
        "max_pool2d_with_indices max_pool3d_with_indices avg_pool2d avg_pool3d "
        "_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d"
    ),
    "loss": (
        "nll_loss_forward nll_loss nll_loss2d_forward nll_loss2d mse_loss smooth_l1_loss "
        "huber_loss binary_cross_entropy soft_margin_loss"
    ),
    "other": (
        "clone copy fill zero zeros ones full zeros_like ones_like full_like new_zeros new_ones "
        "new_full scalar_tensor arange cat stack mean var var_mean std amax amin max min argmax "
        "any all count_nonzero prod embedding embedding_dense index index_select gather scatter "
        "scatter_add index_put index_add select slice diagonal unfold constant_pad_nd "
        "reflection_pad1d reflection_pad2d replication_pad2d repeat bernoulli rand randn randint "
        "normal uniform cumsum tril triu upsample_nearest2d upsample_bilinear2d upsample_bicubic2d "
        "flip roll masked_fill where _unsafe_index im2col col2im linalg_vector_norm norm "
        "pixel_shuffle pixel_unshuffle lift_fresh_copy _weight_norm_interface slice_scatter "
        "select_scatter expand_copy"
    ),
}
KIND_OF = {name: kind for kind, names in _NAMES.items() for name in names.split()}

NO_OPERATION = re.compile(r"(new_)?empty(_like|_strided|_permuted)?$|resize_$|set_$")
"""Names of operations that only take memory."""

_UNREAD: Mapping[str, str] = {
    "native_layer_norm_backward": "bias",
    "native_batch_norm_backward": "running_mean running_var",
    **dict.fromkeys(
        (
            *("max_pool2d_with_indices_backward", "max_pool3d_with_indices_backward"),
            *("avg_pool2d_backward", "avg_pool3d_backward", "nll_loss_backward"),
            *("_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward"),
            *("nll_loss2d_backward", "zeros_like", "ones_like", "full_like", "new_zeros"),
            *("new_ones", "new_full", "rand_like", "randn_like", "bernoulli"),
        ),
        "self",
    ),
}
"""Arguments of which only the size matters."""

_OVERWRITTEN = {"copy_", "fill_", "zero_", "normal_", "uniform_", "bernoulli_", "random_"}
"""Changed in place without being read."""

_GATHERED: Mapping[str, tuple[str, str]] = {
    "embedding": ("weight", "indices"),
    "index": ("self", "out"),
    "_unsafe_index": ("self", "out"),
    "index_select": ("self", "out"),
    "gather": ("self", "out"),
    "nll_loss_forward": ("self", "target"),
    "nll_loss2d_forward": ("self", "target"),
    "index_put_": ("self", "values"),
    "_index_put_impl_": ("self", "values"),
    "index_add_": ("self", "source"),
    "scatter_add_": ("self", "src"),
}
"""Arguments of which only as many elements move as another argument, or the result, has."""

_ALSO_WRITTEN: Mapping[str, tuple[str, ...]] = {
    "native_batch_norm": ("running_mean", "running_var"),
    "cudnn_batch_norm": ("running_mean", "running_var"),
}
"""Arguments that are changed in training although the operation's schema does not say so."""


def is_overwritten(name: str, argument: str) -> bool:
    """Whether a written argument is not read."""
    return name in _OVERWRITTEN or argument == "out"


def is_unread(name: str, argument: str) -> bool:
    """Whether only the size of an argument matters."""
    return argument in _UNREAD.get(name, "").split()


def also_written(name: str, arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """Arguments that are written although the schema does not say so."""
    return _ALSO_WRITTEN.get(name, ()) if arguments.get("training", True) else ()


def moved_elements(
    name: str, argument: str, tensor: Tensor, arguments: Mapping[str, Any], results: list[Tensor]
) -> int:
    """Elements of an argument that move: of a broadcast one those that lie in memory."""
    if name in _GATHERED and _GATHERED[name][0] == argument:
        other = _GATHERED[name][1]
        chosen = results[0] if other == "out" else arguments[other]
        elements = chosen.numel()
        if name == "embedding":
            elements *= tensor[0].numel() if tensor.dim() > 1 else 1
        return min(elements, tensor.numel())
    return in_memory(tensor)


def in_memory(tensor: Tensor) -> int:
    """Elements of a tensor that lie in memory: repeated ones count once."""
    elements = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        elements *= size if stride else min(size, 1)
    return elements


def stem(name: str) -> str:
    """The name without what says that it is in place or a backward pass."""
    return re.sub(r"(_backward(_data|_input|_weight)?)?_?$", "", name) or name


def kind_of(func: Any, name: str, module: nn.Module | None) -> tuple[Kind, bool]:
    """The class of an operation and whether its cost is that of its bytes and multiply-adds."""
    base = stem(name)
    known = KIND_OF.get(base)
    tags = set(func.tags)
    streams = {torch.Tag.pointwise, getattr(torch.Tag, "reduction", torch.Tag.pointwise)} & tags
    priced = known is not None or bool(streams) or base.startswith(("_foreach_", "_fused_"))
    if known in (None, "other", "addition"):
        of_module = _kind_of_module(module)
        if of_module is not None and priced:
            return of_module, True
    return known or "other", priced


def _kind_of_module(module: nn.Module | None) -> Kind | None:
    """What the element-wise operations of a module are for."""
    name = type(module).__name__.lower()
    if "norm" in name:
        return "normalisation"
    if "pool" in name:
        return "pooling"
    if isinstance(module, nn.Dropout) or type(module).__module__ == "torch.nn.modules.activation":
        return None if isinstance(module, nn.MultiheadAttention) else "activation"
    return None


def product_macs(func: Any, args: Any, kwargs: Any, out: Any) -> int:
    """Multiply-adds of a matrix product (or fused attention), 0 for anything else."""
    packet = func.overloadpacket
    name = packet.__name__
    if name in ("mv", "dot", "vdot"):
        return cast(int, args[0].numel())
    if name == "addmv":
        return cast(int, args[1].numel())
    if name == "addbmm":
        return cast(int, args[1].numel() * args[2].shape[-1])
    if packet in flop_registry:
        return int(flop_registry[packet](*args, **kwargs, out_val=out)) // 2
    return 0
