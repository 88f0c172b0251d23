"""The recorder: the operands of real backward convolutions and matmuls, written to a trace.

It looks on: whatever goes wrong in a step, that step is left out and the user's training goes on.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

import workloads
from resprop_train.conversion import reuse_layers
from resprop_train.errors import TrainError
from resprop_train.following import Follower
from resprop_train.iteration import PLACE, Iteration, Pass
from resprop_train.matmuls import Matmul, MatmulWatcher
from resprop_train.matmuls import to_layer as matmul_layer
from resprop_train.recorded import Recorded, ordinary_layers
from resprop_train.reuse import LayerEvent, LayerStep, Reuse, read_steps
from resprop_train.spool import Copy, Spool
from resprop_train.traced import NotTraceable, label, to_layer
from workloads.errors import TraceError


class Recorder:
    """Writes whole iterations of a converted model to a trace file, layer by layer.

    A layer is copied, packed and put on disk during its own backward pass, so that no more than
    one is held at a time; the trace lists them in the order of the model. So are the matmuls that
    modules form of two tensors, as attention does: ``attn@1`` is the first one of ``attn``. The
    file appears when the ``with`` block ends without an exception, and a summary is printed: what
    was recorded, how dense it was, and what was left out and why. Nothing that goes wrong with a
    step is raised before that.

    Args:
        model: a converted model; layers are named as in it.
        path: the trace to write.
        samples: how many samples of the batch to keep; None keeps all.
        values: store the values too, not only where they are non-zero.
        dense: also record steps in which a layer took the ordinary backward pass. Without it such
            a step is left out, because its gradient is no delta.
        quiet: print no summary.
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
        samples: int | None = 16,
        values: bool = False,
        dense: bool = False,
        quiet: bool = False,
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
        self.quiet = quiet
        metadata.setdefault("network", type(model).__name__)
        metadata.setdefault("versions", versions())
        metadata.setdefault("method", _method(self.layers))
        metadata.setdefault("reuse_sparsity", _nominal(self.layers))
        self._metadata = metadata
        self._writer = workloads.TraceWriter(self.path, batch_size=1, values=values, **metadata)
        self._labels = {id(r): label(name, model) for name, r in self.layers.items()}
        self._place = {name: place for place, (name, _) in enumerate(model.named_modules())}
        self._order = {id(r): self._place[name] for name, r in self.layers.items()}
        self._label = partial(label, model=model)
        self.may_begin: Callable[[], bool] = lambda: False
        self._matmuls = MatmulWatcher(
            model,
            is_due=lambda: self.recording or self.may_begin(),
            tell=self._on_matmul,
            cannot=self._cannot_see,
        )
        self.recorded = Recorded(
            path=self.path,
            layers=[self._labels[id(reuse)] for reuse in self.layers.values()],
            ordinary=ordinary_layers(model),
            wanted=metadata["reuse_sparsity"],
            samples=samples,
        )
        self._spooled: list[Pass] = []
        self._batch_size: int | None = None
        self._disk_error: OSError | None = None
        self._iteration: Iteration | None = None
        self._spool: Spool | None = None

    @property
    def iterations(self) -> list[int]:
        """The recorded iterations."""
        return list(self.recorded.batch_sizes)

    def summary(self) -> str:
        """What was recorded and what was not, in a few lines."""
        return self.recorded.summary()

    def __repr__(self) -> str:
        return self.summary()

    def __enter__(self) -> Self:
        self._writer.__enter__()
        try:
            self._spool = Spool(self.path)
        except OSError as error:
            self._writer.__exit__(type(error), error, None)
            raise self._cannot_write(error) from None
        self._matmuls.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._disarm()
        self._matmuls.__exit__()
        assert self._spool is not None
        try:
            if kind is None:
                self._write()
        except BaseException as failure:
            self._writer.__exit__(type(failure), failure, None)
            raise
        finally:
            self._spool.end()
        self._writer.__exit__(kind, error, traceback)
        if kind is None and not self.quiet:
            sys.stdout.write(self.summary() + "\n")

    def begin(self, iteration: int, *, in_place_of: int | None = None) -> None:
        """Record the backward passes that come next.

        ``in_place_of`` is the iteration that was asked for, where that was an ordinary one.
        """
        self._disarm()
        self._discard()
        self._iteration = Iteration(iteration, in_place_of)
        for reuse in self.layers.values():
            reuse.observers.append(self)

    @property
    def recording(self) -> bool:
        """Whether an iteration is begun and not finished."""
        return self._iteration is not None

    def finish(self, **metadata: Any) -> bool:
        """Keep the iteration; False if it is left out, for a reason that the summary gives.

        ``metadata`` (such as the loss) is kept for the first recorded iteration.
        """
        self._disarm()
        now = self._iteration
        if now is None:
            return False
        steps: list[LayerStep] = read_steps(now.steps)
        because = now.because or _ordinary_because(steps, now.names, self.dense)
        if because is None and not now.passes:
            because = "no backward pass was seen"
        if because is not None:
            self.recorded.leave_out(now.number, because)
            self._discard()
            return False
        if not self.recorded.batch_sizes:
            self._metadata |= {"iteration": now.number} | metadata
            self._batch_size = now.batch_size
        matmuls = now.numbered_matmuls()
        self._spooled += now.passes + matmuls
        self.recorded.add(
            now.number,
            now.batch_size,
            zip(now.names, steps, strict=True),
            matmuls=[each.name for each in matmuls],
            in_place_of=now.in_place_of,
        )
        self._iteration = None
        return True

    def on_forward(self) -> None:
        """Nothing to do: the backward pass shows all."""

    def on_pass(self, event: LayerEvent) -> None:
        """Copy one pass of a layer to the disk; whatever fails leaves the iteration out."""
        name = self._labels[id(event.reuse)]
        try:
            self._observe(dataclasses.replace(event, layer=name))
        except NotTraceable as reason:
            self.recorded.unfit[name] = str(reason)
        except OSError as error:
            self._disk_error = error
            self._leave_out(f"cannot write trace: {error.strerror or error}")
        except Exception as error:
            self._leave_out(_named(f"layer {name!r}", error))

    def _observe(self, event: LayerEvent) -> None:
        name, reuse, step = event.layer, event.reuse, event.step
        now = self._iteration
        assert now is not None
        because = None if step is None else step.dense_because
        if because is not None and not self.dense:
            self._leave_out(_ordinary(name, because))
        if now.because is not None:
            return
        use = now.uses[id(reuse)] + 1
        use_name = name if use == 1 else f"{name}#{use}"
        layer = to_layer(event, name=use_name, iteration=now.number, samples=self.samples)
        copy = self._keep(layer)
        now.uses[id(reuse)] = use
        now.passes.append(Pass(now.number, self._order[id(reuse)], use, use_name, copy))
        now.passes.sort(key=PLACE)
        if now.passes[0].copy is copy:  # of the first layer of the model
            now.batch_size = event.activation.shape[0]
        if step is not None:
            now.names.append(name)
            now.steps.append(step)

    def _on_matmul(self, matmul: Matmul) -> None:
        """Copy a matmul to the disk; whatever fails leaves the iteration out."""
        now = self._iteration
        if now is None or now.because is not None:
            return
        try:
            name = self._label(matmul.module)
            layer = matmul_layer(
                matmul,
                name=name,
                iteration=now.number,
                batch_size=self._matmuls.batch_size,
                samples=self.samples,
            )
            place = self._place[matmul.module]
            now.matmuls.append((matmul.sequence, place, name, self._keep(layer)))
        except Exception as error:
            self._cannot_see(matmul.module, error)

    def _cannot_see(self, module: str, error: Exception) -> None:
        """A matmul that has no operands to copy is named; anything else leaves the step out."""
        name = self._label(module)
        if isinstance(error, NotTraceable):
            self.recorded.unfit[f"matrix products of {name}"] = str(error)
        elif self._iteration is not None:
            if isinstance(error, OSError):
                self._disk_error = error
            self._leave_out(_named(f"matrix products of {name!r}", error))

    def _keep(self, layer: workloads.Layer) -> Copy:
        """A copy of a layer on the disk."""
        if not self.values:
            layer = dataclasses.replace(layer, stored_values={})
        assert self._spool is not None
        return self._spool.put(layer)

    def _leave_out(self, because: str) -> None:
        """The first reason is the one that is told."""
        assert self._iteration is not None
        self._iteration.because = self._iteration.because or because

    def _write(self) -> None:
        """Everything that was kept, in order of iteration and model."""
        if not self.recorded.batch_sizes:
            if self._disk_error is not None:
                raise self._cannot_write(self._disk_error)
            raise TraceError(f"{self.path}: nothing recorded: {self.recorded.why_nothing()}")
        self._writer.update(
            **self._metadata,
            batch_size=self._batch_size,
            reuse_sparsity_reached=self.recorded.reuse_sparsity,
        )
        assert self._spool is not None
        for each in sorted(self._spooled, key=PLACE):
            self._writer.add(dataclasses.replace(self._spool.take(each.copy), name=each.name))

    def _disarm(self) -> None:
        for reuse in self.layers.values():
            reuse.observers = [o for o in reuse.observers if o is not self]

    def _discard(self) -> None:
        """Forget the passes of an iteration that is not kept."""
        if self._iteration is not None:
            for copy in self._iteration.copies():
                copy.path.unlink(missing_ok=True)
        self._iteration = None

    def _cannot_write(self, error: OSError) -> TraceError:
        return TraceError(f"{self.path}: cannot write trace: {error.strerror or error}")


@contextmanager
def record(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    iterations: Collection[int] | None = None,
    samples: int | None = 16,
    values: bool = False,
    dense: bool = False,
    quiet: bool = False,
    **metadata: Any,
) -> Iterator[Recorder]:
    """Record the training steps taken inside the block, in anyone's own loop.

    Iterations are counted from 0; a new one begins with the first training forward pass after a
    backward pass. ``iterations`` chooses some of them (None: all). A chosen one that turns out to
    be an ordinary step is left out and the next sparse step is taken in its place. The other
    arguments are the Recorder's.
    """
    recorder = Recorder(
        model, path, samples=samples, values=values, dense=dense, quiet=quiet, **metadata
    )
    with recorder:
        follower = Follower(recorder, iterations)
        try:
            yield recorder
            follower.end()
        finally:
            follower.leave()


def versions() -> dict[str, str]:
    """Versions of what writes a trace."""
    return {"python": platform.python_version(), "torch": str(torch.__version__)}


def _named(what: str, error: Exception) -> str:
    """An error in one line that names a layer, once."""
    text = " ".join(str(error).split())
    return text if text.startswith(("layer ", "matmul ")) else f"{what}: {text}"


def _ordinary(name: str, because: str) -> str:
    return (
        f"layer {name!r} took the ordinary backward pass ({because}); "
        "a ReSprop step is needed, or dense=True"
    )


def _ordinary_because(steps: list[LayerStep], names: list[str], dense: bool) -> str | None:
    """Why the iteration is an ordinary one, where that could only be read now."""
    for name, step in zip(names, steps, strict=True):
        if step.dense_because is not None and not dense:
            return _ordinary(name, step.dense_because)
    return None


def _method(layers: dict[str, Reuse]) -> str | None:
    """The method, if it is the same for all layers."""
    names = {reuse.method.name for reuse in layers.values()}
    return names.pop() if len(names) == 1 else None


def _nominal(layers: dict[str, Reuse]) -> float | None:
    """The reuse sparsity wanted, if it is the same for all layers."""
    wanted = {round(1.0 - reuse.target, 9) for reuse in layers.values()}
    return wanted.pop() if len(wanted) == 1 else None
