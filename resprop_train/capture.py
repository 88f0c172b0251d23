"""The recorder: the operands of real backward convolutions, written to a trace."""

from __future__ import annotations

import dataclasses
import os
import pickle
import platform
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import workloads
from resprop_train.conversion import reuse_layers
from resprop_train.errors import TrainError
from resprop_train.function import Conv2dOperator
from resprop_train.reuse import LayerEvent, Reuse
from workloads.errors import TraceError


class Recorder:
    """Writes whole iterations of a converted model to a trace file, layer by layer.

    A layer is copied, packed and put on disk during its own backward pass, so that no more than
    one is held at a time; the trace lists them in the order of the model. The file appears when
    the ``with`` block ends without an exception.

    Args:
        model: a converted model.
        path: the trace to write.
        samples: how many samples of the batch to keep; None keeps all.
        values: store the values too, not only where they are non-zero.
        dense: also record steps in which a layer took the ordinary backward pass. Without it such
            a step is left out, because its gradient is no delta.
        metadata: further fields of ``workloads.Trace``.

    Raises:
        TrainError: the model has no converted layer, or ``samples`` is not positive.
        TraceError: the file cannot be written, or no step could be recorded.
    """

    def __init__(
        self,
        model: nn.Module,
        path: str | os.PathLike[str],
        *,
        samples: int | None = 2,
        values: bool = False,
        dense: bool = False,
        **metadata: Any,
    ) -> None:
        self.layers = reuse_layers(model)
        if not self.layers:
            raise TrainError(f"{type(model).__name__} has no converted layer: call convert first")
        if samples is not None and samples < 1:
            raise TrainError(f"samples must be at least 1, got {samples}")
        self.path = Path(path)
        self.samples = samples
        self.values = values
        self.dense = dense
        self.iterations: list[int] = []
        self.elements = 0
        self.zeros = 0.0
        metadata.setdefault("network", type(model).__name__)
        metadata.setdefault("versions", versions())
        self._metadata = metadata
        self._writer = workloads.TraceWriter(self.path, batch_size=1, values=values, **metadata)
        self._order = {name: index for index, name in enumerate(self.layers)}
        self._iteration: int | None = None
        self._spooled: list[tuple[int, int, Path]] = []
        self._uses: Counter[str] = Counter()
        self._batch_size = 1
        self._seen = 1
        self._elements, self._zeros = 0, 0.0
        self._why_dense: str | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        self._writer.__enter__()
        try:
            self._folder = tempfile.TemporaryDirectory(
                prefix=f".{self.path.name}.", dir=self.path.resolve().parent
            )
        except OSError as error:
            self._writer.__exit__(type(error), error, None)
            raise self._cannot_write(error) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._disarm()
        assert self._folder is not None
        self._folder.cleanup()
        if kind is None and not self.iterations:
            reason = self._why_dense or "no backward pass was seen"
            error = TraceError(f"{self.path}: nothing recorded: {reason}")
            self._writer.__exit__(type(error), error, None)
            raise error
        if kind is None:
            self._writer.update(reuse_sparsity_reached=self.zeros / self.elements)
        self._writer.__exit__(kind, error, traceback)

    def begin(self, iteration: int) -> None:
        """Record the backward pass that comes next."""
        self._iteration = iteration
        self._uses.clear()
        self._discard()
        self._why_dense = None
        self._elements, self._zeros = 0, 0.0
        for reuse in self.layers.values():
            reuse.observer = self._observe

    def finish(self, **metadata: Any) -> bool:
        """Write the iteration; False if it was an ordinary step and is left out.

        ``metadata`` (such as the loss) is kept for the first recorded iteration.
        """
        self._disarm()
        iteration, self._iteration = self._iteration, None
        if iteration is None or not self._spooled or (self._why_dense and not self.dense):
            self._discard()
            return False
        if not self.iterations:
            self._metadata |= {"iteration": iteration} | metadata
        self._batch_size = max(self._batch_size, self._seen)
        self._writer.update(**self._metadata, batch_size=self._batch_size)
        for _, _, path in sorted(self._spooled):
            with open(path, "rb") as file:
                self._writer.add(pickle.load(file))
        self._discard()
        self.iterations.append(iteration)
        self.elements += self._elements
        self.zeros += self._zeros
        return True

    def _observe(self, event: LayerEvent) -> None:
        if event.step.dense_because is not None and not self._why_dense:
            self._why_dense = (
                f"layer {event.layer!r} took the ordinary backward pass "
                f"({event.step.dense_because}); a ReSprop step is needed, or dense=True"
            )
        if self._why_dense and not self.dense:
            return
        assert self._iteration is not None
        self._uses[event.layer] += 1
        use = self._uses[event.layer]
        layer = to_layer(
            event,
            name=event.layer if use == 1 else f"{event.layer}#{use}",
            iteration=self._iteration,
            samples=self.samples,
        )
        if not self.values:
            layer = dataclasses.replace(layer, stored_values={})
        self._seen = max(self._seen, event.step.batch_size)
        self._elements += event.step.elements
        self._zeros += (1.0 - event.step.density) * event.step.elements
        assert self._folder is not None
        path = Path(self._folder.name) / f"{len(self._spooled)}.pickle"
        try:
            with open(path, "wb") as file:  # our own file, read back by finish()
                pickle.dump(layer, file)
        except OSError as error:
            raise self._cannot_write(error) from None
        self._spooled.append((self._order[event.layer], use, path))

    def _disarm(self) -> None:
        for reuse in self.layers.values():
            reuse.observer = None

    def _discard(self) -> None:
        for _, _, path in self._spooled:
            path.unlink(missing_ok=True)
        self._spooled.clear()

    def _cannot_write(self, error: OSError) -> TraceError:
        return TraceError(f"{self.path}: cannot write trace: {error.strerror or error}")


@contextmanager
def record(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    iterations: Collection[int] | None = None,
    samples: int | None = 2,
    values: bool = False,
    dense: bool = False,
    **metadata: Any,
) -> Iterator[Recorder]:
    """Record the training steps taken inside the block, in anyone's own loop.

    Each training forward pass of ``model`` begins an iteration, counted from 0; ``iterations``
    chooses some of them (None: all). A chosen one that turns out to be an ordinary step is left
    out and the next ReSprop step is taken in its place. The other arguments are the Recorder's.
    """
    recorder = Recorder(model, path, samples=samples, values=values, dense=dense, **metadata)
    recorder._metadata.setdefault("reuse_sparsity", _nominal(recorder.layers))
    wanted = None if iterations is None else set(iterations)
    count = 0
    pending = False

    def before_forward(module: nn.Module, arguments: Any) -> None:
        nonlocal count, pending
        if not (module.training and torch.is_grad_enabled()):
            return
        finish()
        pending = pending or wanted is None or count in wanted
        if pending:
            recorder.begin(count)
        count += 1

    def finish() -> None:
        nonlocal pending
        if recorder._iteration is not None and recorder.finish():
            pending = False

    with recorder:
        hook = model.register_forward_pre_hook(before_forward)
        try:
            yield recorder
            finish()
        finally:
            hook.remove()


def to_layer(
    event: LayerEvent, *, name: str, iteration: int, samples: int | None
) -> workloads.Layer:
    """The first samples of one backward pass as a layer of a trace.

    A fully connected layer becomes a 1x1 convolution, on 1x1 or on its positions.
    """
    activation, weight, gradient = (
        event.activation[:samples],
        event.weight,
        event.gradient[:samples],
    )
    geometry: dict[str, Any] = {}
    if isinstance(event.geometry, Conv2dOperator):
        geometry = {
            f: getattr(event.geometry, f) for f in ("stride", "padding", "dilation", "groups")
        }
    else:
        activation, gradient = _as_picture(activation), _as_picture(gradient)
        weight = weight[:, :, None, None]
    _, channels, height, width = activation.shape
    shape = workloads.LayerShape(
        C=channels,
        H=height,
        W=width,
        K=weight.shape[0],
        R=weight.shape[2],
        S=weight.shape[3],
        **geometry,
    )
    return workloads.layer_from_arrays(
        name,
        activation=_array(activation),
        weight=_array(weight),
        gradient=_array(gradient),
        shape=shape,
        iteration=iteration,
        input_gradient=event.input_gradient,
    )


def versions() -> dict[str, str]:
    """Versions of what writes a trace."""
    return {"python": platform.python_version(), "torch": str(torch.__version__)}


def _as_picture(tensor: Tensor) -> Tensor:
    """[n, ..., C] to [n, C, positions, 1]."""
    return tensor.flatten(1, -2).transpose(1, 2)[..., None] if tensor.dim() > 2 else tensor[
        :, :, None, None
    ]  # fmt: skip


def _array(tensor: Tensor) -> NDArray[Any]:
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    return np.ascontiguousarray(tensor.cpu().numpy())


def _nominal(layers: dict[str, Reuse]) -> float | None:
    """The reuse sparsity wanted, if it is the same for all layers."""
    wanted = {round(1.0 - reuse.target, 9) for reuse in layers.values()}
    return wanted.pop() if len(wanted) == 1 else None
