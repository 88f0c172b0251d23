"""Matrix products whose two operands are made in the forward pass, as those of attention.

They are found in the graph that autograd keeps anyway, so that nothing of the user's is called,
wrapped or replaced: after each module the nodes that are new are looked at, and a matmul gets a
hook that is told when its backward pass begins. Operands are those that autograd has saved. A fused
attention kernel saves its inputs only: what it multiplied is worked out again from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

import workloads
from resprop_train.layers import ReSpropLayer
from resprop_train.operators import needed
from resprop_train.traced import NotTraceable, as_array

FUSED = "ScaledDotProduct"
"""What the names of fused attention's nodes begin with."""
BATCHED: Mapping[str, tuple[str, str, int]] = {
    "BmmBackward0": ("self", "mat2", 0),
    "BaddbmmBackward0": ("batch1", "batch2", 1),
}
"""Node -> names of its operands, and which of its inputs the first of them is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Matmul:
    """``left @ right`` in its backward pass, valid only during the call that receives it.

    Axes are [samples and heads, rows, columns], or [samples, heads, rows, columns]. An operand is
    None where it is not known, because no gradient depends on it. ``sequence`` numbers matmuls in
    the order of the forward pass.
    """

    module: str
    sequence: tuple[int, int]
    left: Tensor | None
    right: Tensor | None
    gradient: Tensor | None
    left_gradient: bool
    right_gradient: bool


class MatmulWatcher:
    """Finds the matmuls of a model while it is entered.

    Args:
        model: whose modules they belong to.
        is_due: whether to look at the graph now.
        tell: is told of each matmul; it must not raise.
        cannot: is told of a module and the reason why a matmul of it cannot be seen.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        is_due: Callable[[], bool],
        tell: Callable[[Matmul], None],
        cannot: Callable[[str, Exception], None],
    ) -> None:
        self._names = {id(module): name for name, module in model.named_modules()}
        self._is_due, self._tell, self._cannot = is_due, tell, cannot
        self._running: list[str] = []
        self._handles: list[Any] = []
        self.batch_size = 1

    def __enter__(self) -> None:
        # Hooks of all modules, as those of one would be copied and saved with it.
        self._handles = [
            torch_module.register_module_forward_pre_hook(self._before),
            torch_module.register_module_forward_hook(self._after, always_call=True),
        ]

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()

    @torch.compiler.disable
    def _before(self, module: nn.Module, inputs: Any) -> None:
        """What is new among the inputs was made by the module that calls this one."""
        name = self._names.get(id(module))
        if name is None:
            return
        if self._running and self._is_due():
            self._look(inputs, self._running[-1])
        self._running.append(name)
        tensor = next(_tensors(inputs), None)
        if isinstance(module, ReSpropLayer) and tensor is not None and tensor.dim():
            self.batch_size = tensor.shape[0]

    @torch.compiler.disable
    def _after(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if id(module) not in self._names or not self._running:
            return
        name = self._running.pop()
        if self._is_due():
            self._look(output, name)

    def _look(self, tree: Any, name: str) -> None:
        """Hook the matmuls behind these tensors that have not been looked at.

        Nodes are marked in their own metadata: whoever held them would keep the graph alive.
        """
        nodes = [tensor.grad_fn for tensor in _tensors(tree)]
        while nodes:
            node: Any = nodes.pop()
            if node is None or not node.next_functions or self in node.metadata:
                continue
            node.metadata[self] = True
            kind = node.name()
            if kind in BATCHED or kind.startswith(FUSED):
                node.register_prehook(self._hook(name))
            nodes += [edge for edge, _ in node.next_functions]

    def _hook(self, name: str) -> Callable[[Any], None]:
        def backward_begins(gradients: Any) -> None:
            try:
                node: Any = torch._C._current_autograd_node()
                with torch.no_grad():
                    for matmul in _matmuls(node, name, gradients[0]):
                        self._tell(matmul)
            except Exception as error:
                self._cannot(name, error)

        return backward_begins


def to_layer(
    matmul: Matmul, *, name: str, iteration: int, batch_size: int, samples: int | None
) -> workloads.Layer:
    """The first samples of a matmul as a layer of a trace.

    Where samples and heads are one axis, samples come first; one that does not divide into
    ``batch_size`` parts is a single sample of as many heads.

    Raises:
        GscnError: an operand that a trace cannot hold, as one that is not finite.
    """
    found = {"left": matmul.left, "right": matmul.right, "gradient": matmul.gradient}
    given = {key: tensor.detach() for key, tensor in found.items() if tensor is not None}
    any_one = next(iter(given.values()))
    if any_one.dim() == 3:
        parts = batch_size if len(any_one) % batch_size == 0 else 1
        given = {key: t.reshape(parts, -1, *t.shape[1:]) for key, t in given.items()}
    n = next(iter(given.values())).shape[0]
    return workloads.matmul_from_arrays(
        name,
        **{key: as_array(tensor[:samples]) for key, tensor in given.items()},
        iteration=iteration,
        left_gradient=matmul.left_gradient,
        right_gradient=matmul.right_gradient,
        batch_size=n,
    )


def _matmuls(node: Any, module: str, gradient: Tensor | None) -> Iterator[Matmul]:
    """The matmuls of a node in its backward pass."""
    if gradient is None:
        return
    number = int(node._sequence_nr())
    kind = node.name()
    if kind.startswith(FUSED):
        yield from _of_attention(node, module, number, gradient)
        return
    left, right, first = BATCHED[kind]
    of_left, of_right, of_third = needed(node, (True, True, True))
    need = (of_right, of_third) if first else (of_left, of_right)
    yield Matmul(
        module=module,
        sequence=(number, 0),
        left=_saved(node, left),
        right=_saved(node, right),
        gradient=gradient if any(need) else None,
        left_gradient=need[0],
        right_gradient=need[1],
    )


def _of_attention(node: Any, module: str, number: int, gradient: Tensor) -> Iterator[Matmul]:
    """Both matmuls of softmax(Q K^T) V, from what a fused kernel has saved."""
    if getattr(node, "_saved_dropout_p", 0.0):
        raise NotTraceable("a fused kernel dropped values and does not say which")
    query, key, value = (_saved(node, name) for name in ("query", "key", "value"))
    if query is None or key is None or value is None or query.dim() != 4:
        raise NotTraceable("a fused kernel saved no queries, keys and values by sample and head")
    times = query.shape[1] // key.shape[1]
    if times > 1:  # several heads of queries share one of keys
        key, value = (t.repeat_interleave(times, 1) for t in (key, value))
    dtype = query.dtype if query.dtype == torch.float64 else torch.float32
    scale = getattr(node, "_saved_scale", None)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = query.to(dtype) @ key.to(dtype).mT * scale
    mask = _mask(node, scores)
    if mask is not None:
        scores = scores + mask.to(dtype)
    # A row of which all is masked attends to nothing.
    attention = scores.softmax(-1).nan_to_num(0.0)
    of_attention = gradient.to(dtype) @ value.to(dtype).mT
    inner = (attention * of_attention).sum(-1, keepdim=True)
    of_query, of_key, of_value = needed(node, (True, True, True))
    of_scores = of_query or of_key
    yield Matmul(
        module=module,
        sequence=(number, 0),
        left=query,
        right=key.mT,
        gradient=attention * (of_attention - inner) * scale if of_scores else None,
        left_gradient=of_query,
        right_gradient=of_key,
    )
    yield Matmul(
        module=module,
        sequence=(number, 1),
        left=attention.to(query.dtype),  # as the second matmul reads it
        right=value,
        gradient=gradient,
        left_gradient=of_scores,
        right_gradient=of_value,
    )


def _mask(node: Any, scores: Tensor) -> Tensor | None:
    """What is added to the scores: minus infinity where nothing is looked at."""
    for name in ("attn_mask", "attn_bias"):
        if hasattr(node, f"_saved_{name}"):
            mask = _saved(node, name)
            if mask is not None:
                return mask
    if not getattr(node, "_saved_is_causal", False):
        return None
    causal = torch.ones_like(scores[0, 0], dtype=torch.bool).tril()
    return torch.zeros_like(scores[0, 0]).masked_fill(~causal, float("-inf"))


def _saved(node: Any, name: str) -> Tensor | None:
    """What autograd has saved; None if it had no need to.

    Raises:
        NotTraceable: it is not there but is to be made when it is needed, which may be done once.
    """
    if not hasattr(node, f"_raw_saved_{name}"):
        return None
    hook = getattr(getattr(node, f"_raw_saved_{name}"), "unpack_hook", NotTraceable)
    if hook is not None:
        raise NotTraceable("its operands are made again in the backward pass (checkpointing)")
    saved: Tensor | None = getattr(node, f"_saved_{name}")
    return saved


def _tensors(tree: Any) -> Iterator[Tensor]:
    """The tensors of arguments or results, in lists, tuples and dicts too."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict):
        yield from _tensors(list(tree.values()))
    elif isinstance(tree, list | tuple):
        items: Iterable[Any] = tree
        for item in items:
            yield from _tensors(item)
