"""Check a trace on a machine: functional equality on sampled layers, and every identity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gscn_sim.config import Config
from gscn_sim.run.functional import execute, in_arithmetic
from gscn_sim.run.pipeline import simulate_phase
from gscn_sim.run.simulate import Progress, parse_phases
from workloads import Layer, LayerShape, Phase, Trace, layer_from_arrays
from workloads.layer import operand_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

LARGEST_DIRECT_MACS = 1 << 28
"""Layers with more multiply-accumulates a sample are left out of the functional check."""


def verify(
    trace: Trace,
    config: Config,
    *,
    phases: Sequence[str] = ("forward", "dgrad", "wgrad"),
    functional_layers: int = 4,
    seed: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Simulate every layer-phase with its identities, and execute some layers with values.

    The functional check fills the recorded masks of ``functional_layers`` layers, drawn with
    ``seed`` among those small enough, with small integers and compares :func:`execute` with a
    direct convolution, exactly.

    Returns:
        One row per check: check, layer, phase, expected, got, passed.
    """
    import pandas as pd

    wanted = parse_phases(phases)
    total = len(trace.layers)
    generator = np.random.default_rng(seed)
    small = [
        i for i, layer in enumerate(trace.layers) if layer.shape.dense_macs <= LARGEST_DIRECT_MACS
    ]
    count = min(functional_layers, len(small))
    chosen = set(generator.choice(small, count, replace=False).tolist()) if count else set()
    rows: list[dict[str, object]] = []
    for i, layer in enumerate(trace.layers):
        if progress:
            progress(i, total, layer.name)
        for phase in wanted:
            if phase not in layer.phases():
                continue
            rows.extend(_identities(trace, layer, phase, config))
            if i in chosen and not phase.is_pre_phase:
                rows.append(_functional(layer, phase, config, generator))
    if progress:
        progress(total, total, "")
    columns = ["check", "layer", "phase", "expected", "got", "passed"]
    return pd.DataFrame(rows, columns=columns)


def _identities(
    trace: Trace, layer: Layer, phase: Phase, config: Config
) -> list[dict[str, object]]:
    record = simulate_phase(
        trace.network, layer, phase, config, trace.batch_of(layer), checked=False
    )
    return [
        {
            "check": row.name,
            "layer": layer.name,
            "phase": phase.value,
            "expected": row.expected,
            "got": row.got,
            "passed": row.holds,
        }
        for row in record.identities()
    ]


def _functional(
    layer: Layer, phase: Phase, config: Config, generator: np.random.Generator
) -> dict[str, object]:
    filled = fill_with_integers(layer, generator)
    got = execute(filled, phase.value, config)
    expected = in_arithmetic(direct(filled, phase), config)
    differing = int((got != expected).sum())
    return {
        "check": "functional equality",
        "layer": layer.name,
        "phase": phase.value,
        "expected": "0 values differ",
        "got": f"{differing} values differ",
        "passed": differing == 0,
    }


def fill_with_integers(layer: Layer, generator: np.random.Generator) -> Layer:
    """A copy of a layer with small non-zero integers wherever its masks have a value."""
    shape = layer.shape
    all_weights = operand_shape(shape, "weight", layer.n_samples)
    present = {
        "activation": layer.activation and layer.activation.dense(),
        "gradient": layer.gradient and layer.gradient.dense(),
        "weight": layer.weight.dense() if layer.weight else np.ones(all_weights, bool),
    }
    filled = {
        operand: mask * generator.choice([-4, -3, -2, -1, 1, 2, 3, 4], mask.shape).astype(float)
        for operand, mask in present.items()
        if mask is not None
    }
    return layer_from_arrays(
        layer.name,
        activation=filled.get("activation"),
        gradient=filled.get("gradient"),
        weight=filled["weight"],
        stride=shape.stride,
        padding=shape.padding,
        dilation=shape.dilation,
        groups=shape.groups,
        shape=shape,
        extra_phases=layer.extra_phases,
    )


def direct(layer: Layer, phase: Phase) -> NDArray[np.float64]:
    """The phase's convolution straight from its definition, one filter position at a time.

    A matmul is as many convolutions as there are samples.
    """
    if layer.is_matmul:
        return np.concatenate([direct(one, phase) for one in _of_each_sample(layer)])
    shape = layer.shape
    weight = layer.values("weight")
    activation, gradient = layer.values("activation"), layer.values("gradient")
    n = layer.n_samples
    g = shape.groups
    w = None if weight is None else weight.reshape(g, shape.K // g, shape.C // g, shape.R, shape.S)
    if phase is Phase.WGRAD:
        out = np.zeros((g, shape.K // g, shape.C // g, shape.R, shape.S))
    elif phase is Phase.FORWARD:
        out = np.zeros((n, g, shape.K // g, shape.P, shape.Q))
    else:
        out = np.zeros((n, g, shape.C // g, shape.H, shape.W))
    for r in range(shape.R):
        h, p = _meeting(shape, 0, r)
        for s in range(shape.S):
            x, q = _meeting(shape, 1, s)
            if phase is not Phase.DGRAD:
                assert activation is not None
                window = activation[:, :, h][:, :, :, x].astype(np.float64)
                window = window.reshape(n, g, shape.C // g, len(h), len(x))
            if phase is not Phase.FORWARD:
                assert gradient is not None
                part = gradient[:, :, p][:, :, :, q].astype(np.float64)
                part = part.reshape(n, g, shape.K // g, len(p), len(q))
            if phase is Phase.WGRAD:
                out[..., r, s] += np.einsum("ngkpq,ngcpq->gkc", part, window, optimize=True)
            elif phase is Phase.FORWARD:
                assert w is not None
                value = np.einsum("ngcpq,gkc->ngkpq", window, w[..., r, s], optimize=True)
                out[:, :, :, p[:, None], q] += value
            else:
                assert w is not None
                value = np.einsum("ngkpq,gkc->ngcpq", part, w[..., r, s], optimize=True)
                out[:, :, :, h[:, None], x] += value
    if phase is Phase.WGRAD:
        return out.reshape(shape.weight_shape)
    return out.reshape(n, -1, *out.shape[3:])


def _of_each_sample(layer: Layer) -> Iterator[Layer]:
    """The samples of a matmul, each as a convolution with the filters that are its own."""
    shape = replace(layer.shape, filters_per_sample=False)
    activation, gradient = layer.values("activation"), layer.values("gradient")
    weight = layer.values("weight")
    for n in range(layer.n_samples):
        yield layer_from_arrays(
            layer.name,
            activation=None if activation is None else activation[n : n + 1],
            gradient=None if gradient is None else gradient[n : n + 1],
            weight=None if weight is None else weight[n * shape.K : (n + 1) * shape.K],
            shape=shape,
        )


def _meeting(shape: LayerShape, axis: int, offset: int) -> tuple[np.ndarray, np.ndarray]:
    """Input and output coordinates that meet at one filter coordinate."""
    size, output = (shape.H, shape.W)[axis], (shape.P, shape.Q)[axis]
    out = np.arange(output)
    inside = out * shape.stride[axis] - shape.padding[axis] + offset * shape.dilation[axis]
    valid = (inside >= 0) & (inside < size)
    return inside[valid], out[valid]
