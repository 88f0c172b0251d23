"""Multiply-adds of a backward pass: of the dense one, and of one that leaves the zeros out."""

from __future__ import annotations

from dataclasses import dataclass

from workloads.layer import Layer
from workloads.phase import Phase
from workloads.trace import Trace


@dataclass(frozen=True, kw_only=True, slots=True)
class BackwardWork:
    """Multiply-adds of the backward convolutions of all recorded iterations.

    A layer counts with its own: a layer of many multiply-adds weighs more than one of few, however
    many elements its gradient has. ``sparse_macs`` are those of non-zero gradients (zeros of
    activations are not left out), ``pre_macs`` those of the dense one-sample phases.
    """

    dense_macs: int = 0
    sparse_macs: float = 0.0
    pre_macs: int = 0

    def __add__(self, other: BackwardWork) -> BackwardWork:
        """The work of both."""
        return BackwardWork(
            dense_macs=self.dense_macs + other.dense_macs,
            sparse_macs=self.sparse_macs + other.sparse_macs,
            pre_macs=self.pre_macs + other.pre_macs,
        )

    @property
    def density(self) -> float:
        """Share of the dense multiply-adds that meet a non-zero gradient; NaN if there are none."""
        return self.sparse_macs / self.dense_macs if self.dense_macs else float("nan")

    @property
    def saved(self) -> float:
        """Dense work over the work done, pre-phases counted; NaN if there is none."""
        return _quotient(self.dense_macs, self.sparse_macs + self.pre_macs)

    @property
    def saved_without_pre(self) -> float:
        """The same, pre-phases not counted."""
        return _quotient(self.dense_macs, self.sparse_macs)


def backward_work(trace: Trace) -> BackwardWork:
    """Count the multiply-adds of a trace's dgrad and wgrad, and of their pre-phases.

    The pre-phases count only where the trace reuses gradients (its ``reuse_sparsity``).
    """
    return sum((layer_work(trace, layer) for layer in trace.layers), BackwardWork())


def layer_work(trace: Trace, layer: Layer) -> BackwardWork:
    """The same of one layer of a trace."""
    reuses = bool(trace.reuse_sparsity or trace.reuse_sparsity_reached)
    dense, sparse, pre = 0, 0.0, 0
    each, batch = layer.shape.dense_macs, trace.batch_of(layer)
    for phase in layer.phases():
        if phase in (Phase.DGRAD, Phase.WGRAD):
            assert layer.gradient is not None
            dense += batch * each
            sparse += batch * each * layer.gradient.density
        elif phase.one_sample and reuses:
            pre += each
    return BackwardWork(dense_macs=dense, sparse_macs=sparse, pre_macs=pre)


def _quotient(dense: float, left: float) -> float:
    if not left:
        return float("inf") if dense else float("nan")
    return dense / left
