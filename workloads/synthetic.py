"""Traces with random masks of wanted densities, for networks that were not trained here."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard, overload

import numpy as np
from numpy.typing import NDArray

from workloads.errors import LayerError
from workloads.layer import OPERANDS, Layer, Operand, check_label, is_int, operand_shape
from workloads.masks import Mask, packed_size_bytes
from workloads.shape import LayerShape
from workloads.trace import LazyLayers, Trace

Density = float | Mapping[str, float]
"""One density for all layers, or one for each layer name."""

GENERATOR_VERSION = "1"
MAX_EXACT_ELEMENTS = 10**9 - 1  # limit of numpy's multivariate hypergeometric draw


def synthesize(
    network: str,
    layers: Sequence[tuple[str, LayerShape]],
    *,
    batch_size: int,
    samples: int,
    activation_density: Density,
    gradient_density: Density | None,
    weight_density: Density = 1.0,
    channel_imbalance: float = 0.0,
    exact: bool = False,
    seed: int,
) -> Trace:
    """Return a trace of random masks, generated layer by layer whenever they are iterated over.

    Densities are 0 to 1, for all layers or by layer name; a gradient density of None leaves the
    gradient out. With ``exact`` each mask has round(density * size) non-zeros, else that many on
    average. The first layer needs no input gradient.

    ``channel_imbalance`` (0 to below 1) spreads the densities of the activation's and gradient's
    channels as a Beta distribution around the wanted mean d with variance
    channel_imbalance * d * (1 - d): 0 makes channels equal, near 1 they are empty or full. At
    d = 0.1 a value of 0.1 ranges from 0 to about 0.4, as in gradients of real training.

    A mask depends only on the seed, its layer's name and shape, the samples and its own density.

    Raises:
        LayerError, TraceError, ShapeError: a value out of its range, a density missing for a layer.
    """
    plans = tuple(
        _Plan(
            name=name,
            shape=shape,
            densities={
                "activation": _density("activation_density", name, activation_density),
                "gradient": _density("gradient_density", name, gradient_density),
                "weight": _density("weight_density", name, weight_density),
            },
            input_gradient=index > 0,
        )
        for index, (name, shape) in enumerate(layers)
    )
    _check_plans(plans, batch_size, samples, exact)
    if not is_int(seed) or seed < 0:
        raise LayerError(f"seed must be a non-negative int, got {seed!r}")
    if not _is_number(channel_imbalance) or not 0 <= channel_imbalance < 1:
        raise LayerError(f"channel_imbalance must be from 0 to below 1, got {channel_imbalance!r}")
    return Trace(
        network=network,
        batch_size=batch_size,
        seed=seed,
        versions={"workloads.synthetic": GENERATOR_VERSION},
        layers=SyntheticLayers(
            plans=plans,
            samples=samples,
            channel_imbalance=float(channel_imbalance),
            exact=exact,
            seed=seed,
        ),
    )


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What one layer is to look like; a density of None leaves the operand out."""

    name: str
    shape: LayerShape
    densities: Mapping[Operand, float | None]
    input_gradient: bool


@dataclass(frozen=True, kw_only=True)
class SyntheticLayers(LazyLayers):
    """Layers that are generated anew at every iteration or index, always the same."""

    plans: tuple[_Plan, ...]
    samples: int
    channel_imbalance: float
    exact: bool
    seed: int

    def __len__(self) -> int:
        return len(self.plans)

    def __iter__(self) -> Iterator[Layer]:
        return map(self._layer, self.plans)

    @overload
    def __getitem__(self, index: int) -> Layer: ...
    @overload
    def __getitem__(self, index: slice) -> list[Layer]: ...
    def __getitem__(self, index: int | slice) -> Layer | list[Layer]:
        if isinstance(index, slice):
            return [self._layer(plan) for plan in self.plans[index]]
        return self._layer(self.plans[index])

    def keys(self) -> list[tuple[str, int]]:
        """Name and iteration of each layer: there is one iteration, 0."""
        return [(plan.name, 0) for plan in self.plans]

    def shapes(self) -> list[LayerShape]:
        """The shape of each layer."""
        return [plan.shape for plan in self.plans]

    def _layer(self, plan: _Plan) -> Layer:
        return Layer(
            name=plan.name,
            shape=plan.shape,
            activation=self._mask(plan, "activation"),
            gradient=self._mask(plan, "gradient"),
            weight=self._mask(plan, "weight"),
            input_gradient=plan.input_gradient,
        )

    def _mask(self, plan: _Plan, operand: Operand) -> Mask | None:
        density = plan.densities[operand]
        if density is None or (operand == "weight" and density == 1):
            return None
        shape = operand_shape(plan.shape, operand, self.samples)
        imbalance = 0.0 if operand == "weight" else self.channel_imbalance
        draw = exact_mask if self.exact else random_mask
        return Mask.from_array(
            draw(_generator(self.seed, plan.name, operand), shape, density, imbalance)
        )


def random_mask(
    generator: np.random.Generator, shape: tuple[int, ...], density: float, imbalance: float
) -> NDArray[np.bool_]:
    """Return a bool array in which each element is set on its own, axis 1 being the channel."""
    densities = channel_densities(generator, shape[1], density, imbalance).astype(np.float32)
    densities = densities.reshape(-1, *[1] * (len(shape) - 2))
    return generator.random(shape, dtype=np.float32) < densities


def exact_mask(
    generator: np.random.Generator, shape: tuple[int, ...], density: float, imbalance: float
) -> NDArray[np.bool_]:
    """Return a bool array with exactly round(density * size) elements set, as random otherwise."""
    channels = shape[1]
    room = np.full(channels, math.prod(shape) // channels, dtype=np.int64)
    total = round(density * math.prod(shape))
    counts = np.zeros(channels, dtype=np.int64)
    if imbalance:
        counts += np.floor(
            room * channel_densities(generator, channels, density, imbalance)
        ).astype(np.int64)
    missing = total - int(counts.sum())
    if missing > 0:
        counts += generator.multivariate_hypergeometric(room - counts, missing, method="marginals")
    elif missing < 0:
        counts -= generator.multivariate_hypergeometric(counts, -missing, method="marginals")
    mask = np.zeros((channels, int(room[0])), dtype=np.bool_)
    for channel, count in enumerate(counts):
        mask[channel, generator.choice(room[0], count, replace=False, shuffle=False)] = True
    by_channel = mask.reshape(channels, shape[0], *shape[2:])
    return np.ascontiguousarray(by_channel.swapaxes(0, 1))


def channel_densities(
    generator: np.random.Generator, channels: int, density: float, imbalance: float
) -> NDArray[np.float64]:
    """Return one density per channel: Beta-distributed around ``density``, in random order.

    One draw comes from each of ``channels`` equal slices of the distribution, so that the mean over
    the channels is near ``density`` even when they are few.
    """
    # Below these the spread cannot be seen, and the inverse of the Beta distribution breaks down.
    if imbalance < 1e-6 or min(density, 1 - density) < 1e-9:
        return np.full(channels, density)
    from scipy.special import betaincinv

    concentration = (1 - imbalance) / imbalance
    quantiles = (generator.permutation(channels) + generator.random(channels)) / channels
    return np.asarray(
        betaincinv(density * concentration, (1 - density) * concentration, quantiles)
    ).clip(0, 1)


def _generator(seed: int, name: str, operand: Operand) -> np.random.Generator:
    words = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype="<u4")
    return np.random.default_rng([seed, OPERANDS.index(operand), *map(int, words)])


def _density(parameter: str, layer: str, density: Density | None) -> float | None:
    if isinstance(density, Mapping):
        if layer not in density:
            raise LayerError(
                f"{parameter} must have an entry for each layer, got none for {layer!r}"
            )
        parameter, density = f"{parameter}[{layer!r}]", density[layer]
    if density is None and parameter == "gradient_density":
        return None
    if not _is_number(density) or not 0 <= density <= 1:
        raise LayerError(f"{parameter} must be from 0 to 1, got {density!r}")
    return float(density)


def _check_plans(plans: Sequence[_Plan], batch_size: int, samples: int, exact: bool) -> None:
    for name, value in (("batch_size", batch_size), ("samples", samples)):
        if not is_int(value) or value < 1:
            raise LayerError(f"{name} must be a positive int, got {value!r}")
    if samples > batch_size:
        raise LayerError(f"samples must be at most batch_size {batch_size}, got {samples}")
    if not plans:
        raise LayerError("layers must hold at least one layer, got none")
    seen = set()
    for plan in plans:
        check_label("layer name", plan.name)
        if plan.name in seen:
            raise LayerError(f"layer {plan.name!r} must be there only once")
        seen.add(plan.name)
        for operand in OPERANDS:
            shape = operand_shape(plan.shape, operand, samples)
            packed_size_bytes(shape)
            if exact and math.prod(shape) > MAX_EXACT_ELEMENTS:
                raise LayerError(
                    f"layer {plan.name!r}: {operand} must have at most {MAX_EXACT_ELEMENTS} "
                    f"elements for exact densities, got {math.prod(shape)}"
                )


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
