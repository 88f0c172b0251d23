"""Listing the operations that PyTorch dispatches, with their memory, modules and dependencies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from resprop_train import step_rules
from resprop_train.step_modules import LOSS, ModuleTracker, Owner
from workloads.errors import StepError
from workloads.phase import Phase
from workloads.shape import LayerShape
from workloads.step import Kind, Operation, StepPhase, TensorUse

Use = tuple[str, Tensor, int]
"""Name of an argument, the tensor, the elements of it that move."""


@dataclass(kw_only=True, slots=True)
class Draft:
    """An operation as far as it is known while it is recorded."""

    kind: Kind
    name: str
    owner: Owner
    inputs: list[Use]
    outputs: list[Use]
    priced: bool = True
    macs: int = 0
    layer: LayerShape | None = None
    layer_phase: Phase | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


class StepRecorder(TorchDispatchMode):
    """Records every operation on the device inside its ``with`` block.

    A value that the host asks for is made up on the meta device: true, 1 or 1.0.

    Args:
        model: the model, whose modules and parameters own the operations.
        batch_size: samples of the step.
        recording: without it nothing is put on the list.
    """

    def __init__(self, model: nn.Module, batch_size: int, *, recording: bool = True) -> None:
        super().__init__()
        self.recording = recording
        self._phase: StepPhase = "forward"
        self.operations: list[Operation] = []
        self.left_out: Counter[str] = Counter()
        self.synchronisations = 0
        self.batch_size = batch_size
        self.modules = ModuleTracker(model)
        self._products: dict[tuple[Owner, int], list[int]] = {}
        self._device = next((p.device for p in model.parameters()), torch.device("meta"))
        self._weights = {_address(p) for p in model.parameters() if p.dim() > 1}
        self._storages: dict[int, tuple[int, StorageWeakRef]] = {}
        self._writer: dict[int, int] = {}
        self._readers: dict[int, list[int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one operation and put it on the list."""
        kwargs = dict(kwargs or {})
        namespace, _, name = func._schema.name.partition("::")
        if namespace == "profiler":  # marks for profilers: nothing on the device
            return func(*args, **kwargs)
        on_meta = any(t.is_meta for t in _tensors((args, kwargs)))
        if name == "_local_scalar_dense" or (on_meta and name == "equal"):
            if args[0].device == self._device:
                self.synchronisations += 1
            return _made_up(args[0], name) if on_meta else func(*args, **kwargs)
        if on_meta and kwargs.get("device") is not None:
            kwargs["device"] = torch.device("meta")  # there is nothing to move
        try:
            out = func(*args, **kwargs)
        except (RuntimeError, NotImplementedError) as error:
            if on_meta and torch.Tag.dynamic_output_shape in func.tags:
                raise StepError(
                    f"operation {name} of {self.modules.where()} has an output whose size depends "
                    "on values, which are not there when a step is recorded"
                ) from error
            raise
        if not self.recording:
            return out
        if namespace != "aten":
            name = f"{namespace}.{name}"
        self._note(func, name, args, kwargs, out)
        return out

    def _note(self, func: Any, name: str, args: Any, kwargs: Any, out: Any) -> None:
        """Put an operation that has run on the list, unless it is a view or takes memory only."""
        arguments = _bound(func, args, kwargs)
        given = [(a, t) for a, value in arguments.items() for t in _tensors(value)]
        results = _tensors(out)
        known = {_address(t) for _, t in given}
        written = {a.name for a in func._schema.arguments if a.alias_info and a.alias_info.is_write}
        written |= set(step_rules.also_written(name, arguments))
        new = [t for t in results if _address(t) not in known]
        changed = [(a, t) for a, t in given if a in written]
        if step_rules.NO_OPERATION.match(name) or not (new or changed):
            return
        if not any(t.device == self._device for t in [*new, *(t for _, t in given)]):
            self.left_out[f"{name} on the host"] += 1
            return
        inputs = _once(
            (a, t, step_rules.moved_elements(name, a, t, arguments, results))
            for a, t in given
            if not step_rules.is_unread(name, a)
            and not (a in written and step_rules.is_overwritten(name, a))
        )
        outputs = [
            (a, t, step_rules.moved_elements(name, a, t, arguments, results)) for a, t in changed
        ] + [("out", t, t.numel()) for t in new]
        owner = self.modules.owner()
        draft = Draft(kind="other", name=name, owner=owner, inputs=inputs, outputs=outputs)
        if name == "convolution_backward":
            for part in _convolution_backward(draft, arguments, out):
                self._add(part)
            return
        module = self.modules.module(owner)
        if name in ("add", "add_") and not self.modules.calling_any():
            module = None  # gradients that meet are added up after any module's backward pass
        draft.kind, draft.priced = step_rules.kind_of(func, name, module)
        draft.macs = step_rules.product_macs(func, args, kwargs, out)
        if draft.macs and draft.kind not in ("convolution", "matmul"):
            draft.kind = "matmul"
        if draft.kind == "convolution":
            _describe_convolution(draft, arguments, results[0].shape)
        elif draft.kind == "pooling":
            draft.attributes = _window(arguments)
        elif draft.kind == "matmul":
            self._describe_linear(draft)
        elif name == "_to_copy":
            cast = given[0][1].dtype != results[0].dtype
            draft.kind, draft.priced = ("cast" if cast else "other"), True
        self._add(draft)

    def _describe_linear(self, draft: Draft) -> None:
        """Say which product of which fully connected layer this is, if it is one."""
        module = self.modules.module(draft.owner)
        if not isinstance(module, nn.Linear):
            return
        features, filters = module.in_features, module.out_features
        positions, rest = divmod(draft.macs, self.batch_size * features * filters)
        if rest or not positions:  # of one sample
            positions, rest = divmod(draft.macs, features * filters)
        if rest or not positions:
            return
        draft.layer = LayerShape(C=features, H=positions, W=1, K=filters, R=1, S=1)
        reads_weight = any(_address(t) in self._weights for _, t, _ in draft.inputs)
        if self._phase == "forward":
            draft.layer_phase = Phase.FORWARD
        else:
            draft.layer_phase = Phase.DGRAD if reads_weight else Phase.WGRAD

    def _add(self, draft: Draft) -> None:
        path, use = draft.owner
        if draft.kind not in ("convolution", "matmul"):
            if self._phase == "optimizer":
                draft.kind = "optimizer"
            elif path == LOSS and draft.priced:
                draft.kind = "loss"
            elif self.modules.in_resprop() and not _is_bias_gradient(draft):
                draft.kind = "resprop"
        elif self.modules.in_resprop():
            key = (draft.owner, self.modules.products_needed())
            self._products.setdefault(key, []).append(len(self.operations))
        reads = [self._use(t, n) for _, t, n in draft.inputs if n and t.device == self._device]
        writes = [self._use(t, n) for _, t, n in draft.outputs if n and t.device == self._device]
        if not reads and not writes:
            return
        position = len(self.operations)
        self.operations.append(
            Operation(
                phase=self._phase,
                kind=draft.kind,
                name=draft.name,
                module="" if path == LOSS else path,
                use=use,
                inputs=tuple(reads),
                outputs=tuple(writes),
                layer=draft.layer,
                layer_phase=draft.layer_phase,
                macs=draft.macs,
                depends_on=self._dependencies(position, reads, writes),
                attributes=draft.attributes,
                priced=draft.priced,
            )
        )

    def _use(self, tensor: Tensor, elements: int) -> TensorUse:
        storage = tensor.untyped_storage()
        # A weak reference keeps the address from being used again, and no memory.
        address = storage._cdata
        if address not in self._storages:
            self._storages[address] = (len(self._storages), StorageWeakRef(storage))
        return TensorUse(
            storage=self._storages[address][0],
            shape=tuple(tensor.shape),
            dtype=str(tensor.dtype).removeprefix("torch."),
            elements=elements,
        )

    def _dependencies(
        self, position: int, reads: list[TensorUse], writes: list[TensorUse]
    ) -> tuple[int, ...]:
        """What wrote the inputs, and what last wrote, or has read since, the outputs' memory."""
        before = {self._writer[use.storage] for use in reads if use.storage in self._writer}
        for use in writes:
            if use.storage in self._writer:
                before.add(self._writer[use.storage])
            before.update(self._readers.pop(use.storage, ()))
            self._writer[use.storage] = position
        for use in reads:
            if self._writer.get(use.storage) != position:
                self._readers.setdefault(use.storage, []).append(position)
        return tuple(sorted(before - {position}))

    def enter(self, phase: StepPhase) -> None:
        """Begin a phase of the step."""
        self._phase = phase
        self.modules.recomputing = phase == "backward"

    @contextmanager
    def loss(self) -> Iterator[None]:
        """Mark what is done inside the block, and its backward pass, as the loss."""
        with self.modules.calling(LOSS):
            yield

    def finished(self) -> list[Operation]:
        """The whole list; ReSprop's products of one sample have become pre-phases.

        Of the products in a layer's backward pass its own are the largest (the first, at batch 1).
        """
        for (_, needed), positions in self._products.items():
            largest = max(self.operations[i].macs for i in positions)
            own = [i for i in positions if self.operations[i].macs == largest][:needed]
            for i in set(positions) - set(own):
                operation = self.operations[i]
                phase = operation.layer_phase
                self.operations[i] = replace(
                    operation,
                    kind="resprop",
                    name=operation.name.replace(".", ".pre_"),
                    layer_phase=None if phase is None else Phase(f"pre_{phase}"),
                )
        return self.operations


def _convolution_backward(draft: Draft, arguments: Mapping[str, Any], out: Any) -> Iterator[Draft]:
    """The parts that were asked for: dgrad, wgrad and the bias's gradient."""
    uses = {argument: (argument, tensor, n) for argument, tensor, n in draft.inputs}
    for part, phase, of, result in zip(
        ("dgrad", "wgrad", "bias"),
        (Phase.DGRAD, Phase.WGRAD, None),
        ("weight", "input", None),
        out,
        strict=True,
    ):
        if result is None:
            continue
        made = replace(
            draft,
            kind="addition" if phase is None else "convolution",
            name=f"{draft.name}.{part}",
            inputs=[uses["grad_output"], *([uses[of]] if of else [])],
            outputs=[("out", result, result.numel())],
        )
        if phase is not None:
            _describe_convolution(made, arguments, arguments["grad_output"].shape, phase)
        yield made


def _describe_convolution(
    draft: Draft,
    arguments: Mapping[str, Any],
    output: Sequence[int],
    phase: Phase = Phase.FORWARD,
) -> None:
    """Add the layer and the multiply-adds of a convolution with an output of that shape."""
    activation, weight = arguments["input"].shape, arguments["weight"].shape
    geometry = {name: list(arguments[name]) for name in ("stride", "padding", "dilation")}
    transposed, groups = arguments["transposed"], arguments["groups"]
    draft.macs = prod(activation if transposed else output) * prod(weight[1:])
    dims = len(weight) - 2
    if transposed:
        # The forward pass of a transposed convolution is the dgrad of an ordinary one.
        swapped = {Phase.FORWARD: Phase.DGRAD, Phase.DGRAD: Phase.FORWARD}
        phase = swapped.get(phase, phase)
        draft.attributes["transposed"] = True
        activation = output
    if dims > 2:
        draft.attributes |= geometry | {"groups": groups}
        return
    height, width = (1, *activation[2:])[-2:]
    r, s = (1, *weight[2:])[-2:]
    draft.layer = LayerShape(
        C=weight[1] * groups,
        H=height,
        W=width,
        K=weight[0],
        R=r,
        S=s,
        stride=_pair(geometry["stride"], dims, of_one_row=1),
        padding=_pair(geometry["padding"], dims, of_one_row=0),
        dilation=_pair(geometry["dilation"], dims, of_one_row=1),
        groups=groups,
    )
    draft.layer_phase = phase


def _pair(values: Sequence[int], dims: int, *, of_one_row: int) -> tuple[int, int]:
    """Height and width of a setting; a 1-D convolution is one over a single row."""
    sizes = [int(value) for value in values] * (dims if len(values) == 1 else 1)
    return (of_one_row, sizes[0]) if dims == 1 else (sizes[0], sizes[1])


def _window(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Window, stride and padding of a pooling, where it has them."""
    return {
        name: [int(size) for size in arguments[name]]
        for name in ("kernel_size", "stride", "padding", "output_size")
        if isinstance(arguments.get(name), list | tuple)
    }


def _is_bias_gradient(draft: Draft) -> bool:
    return draft.name == "sum" and all(tensor.dim() == 1 for _, tensor, _ in draft.outputs)


def _bound(func: Any, args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by their names in the operation's schema."""
    names = [argument.name for argument in func._schema.arguments]
    return dict(zip(names, args, strict=False)) | dict(kwargs)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _once(uses: Iterable[Use]) -> list[Use]:
    """The uses without a tensor's second ones: a square reads its operand once."""
    found: dict[Any, Use] = {}
    for use in uses:
        tensor = use[1]
        place = (_address(tensor), tensor.storage_offset(), tensor.shape, tensor.stride())
        found.setdefault(place, use)
    return list(found.values())


def _address(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _made_up(tensor: Tensor, name: str) -> bool | int | float:
    """A value for the host where there is none."""
    if name == "equal" or tensor.dtype == torch.bool:
        return True
    return 1.0 if tensor.dtype.is_floating_point else 1
