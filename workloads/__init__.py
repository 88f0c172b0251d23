"""Layer shapes, sparsity masks and the trace format: what the trainer and the simulator share."""

from workloads.errors import GscnError, ShapeError, TraceError
from workloads.shape import LayerShape, Phase

__all__ = ["GscnError", "LayerShape", "Phase", "ShapeError", "TraceError"]
