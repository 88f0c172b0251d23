"""Layer shapes, sparsity masks and the trace format: what the trainer and the simulator share."""

from workloads.errors import GscnError, LayerError, ShapeError, TraceError
from workloads.layer import OPERANDS, Layer, Operand, layer_from_arrays
from workloads.masks import Mask
from workloads.reader import load, validate
from workloads.shape import LayerShape, Phase
from workloads.synthetic import synthesize
from workloads.trace import Trace
from workloads.writer import TraceWriter, save

__all__ = [
    "OPERANDS",
    "GscnError",
    "Layer",
    "LayerError",
    "LayerShape",
    "Mask",
    "Operand",
    "Phase",
    "ShapeError",
    "Trace",
    "TraceError",
    "TraceWriter",
    "layer_from_arrays",
    "load",
    "save",
    "synthesize",
    "validate",
]
