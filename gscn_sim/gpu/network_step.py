"""The training step of a known network, from its list of layers: no framework is needed.

Operations are named as PyTorch names them and move what PyTorch's move, so that a step recorded by
``resprop_train.trace_step`` and this one are priced alike; a test compares the two.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from workloads.networks import LayerKind, NetworkLayer, network_layers
from workloads.step import Kind, Operation, Step, StepPhase, TensorUse

CLASSES = 1000


def network_step(name: str, batch_size: int) -> Step:
    """One step in fp32 with SGD and momentum.

    Raises:
        GscnError: an unknown network.
        StepError: a batch size that is no positive int.
    """
    layers = network_layers(name)
    operations = [
        *_forward(layers, batch_size),
        *_loss(batch_size),
        *_backward(layers, batch_size),
        *_optimizer(layers),
    ]
    c, h, w = layers[0].input_size
    return Step(
        network=name,
        batch_size=batch_size,
        input_shapes=((batch_size, c, h, w),),
        optimizer="sgd-momentum",
        operations=operations,
    )


def _tensor(*shape: int, dtype: str = "float32") -> TensorUse:
    return TensorUse(storage=0, shape=shape, dtype=dtype, elements=math.prod(shape))


def _operation(
    phase: StepPhase,
    kind: Kind,
    name: str,
    inputs: tuple[TensorUse, ...],
    outputs: tuple[TensorUse, ...],
    layer: NetworkLayer | None = None,
    macs: int = 0,
    **attributes: object,
) -> Operation:
    return Operation(
        phase=phase,
        kind=kind,
        name=name,
        module=layer.name if layer else "",
        inputs=inputs,
        outputs=outputs,
        layer=layer.shape if layer and layer.kind is LayerKind.CONV else None,
        macs=macs,
        attributes=attributes,
    )


def _has_bias(layers: list[NetworkLayer]) -> Iterator[tuple[NetworkLayer, bool]]:
    """Each layer, and whether it is a convolution that no batch-norm follows."""
    for layer, following in itertools.zip_longest(layers, layers[1:]):
        normed = following is not None and following.kind is LayerKind.BATCH_NORM
        yield layer, layer.kind is LayerKind.CONV and not normed


def _forward(layers: list[NetworkLayer], n: int) -> Iterator[Operation]:
    for layer, biased in _has_bias(layers):
        x, y = _tensor(n, *layer.input_size), _tensor(n, *layer.output_size)
        channels = layer.input_size[0]
        if layer.shape is not None:
            macs = n * layer.shape.dense_macs
            bias = (_tensor(layer.shape.K),)
        match layer.kind:
            case LayerKind.CONV:
                assert layer.shape is not None
                weight = _tensor(*layer.shape.weight_shape)
                inputs = (x, weight, *(bias if biased else ()))
                yield _operation("forward", "convolution", "convolution", inputs, (y,), layer, macs)
            case LayerKind.LINEAR:
                assert layer.shape is not None
                weight = _tensor(layer.shape.C, layer.shape.K)
                x = _tensor(n, layer.shape.C)
                yield _operation(
                    "forward", "matmul", "addmm", (*bias, x, weight), (y,), layer, macs
                )
            case LayerKind.BATCH_NORM:
                scale = (_tensor(channels), _tensor(channels))
                yield _operation(
                    "forward", "normalisation", "native_batch_norm", (x, *scale), (y, *scale), layer
                )
            case LayerKind.RELU:
                yield _operation("forward", "activation", "relu_", (x,), (x,), layer)
            case LayerKind.ADD:
                yield _operation("forward", "addition", "add_", (x, x), (x,), layer)
            case LayerKind.DROPOUT:
                mask = _tensor(n, *layer.output_size, dtype="bool")
                yield _operation("forward", "activation", "native_dropout", (x,), (y, mask), layer)
            case LayerKind.MAX_POOL:
                places = _tensor(n, *layer.output_size, dtype="int64")
                window = [layer.window, layer.window]
                yield _operation(
                    "forward", "pooling", "max_pool2d_with_indices", (x,), (y, places), layer,
                    kernel_size=window,
                )  # fmt: skip
            case LayerKind.AVG_POOL:
                yield _operation("forward", "pooling", "mean", (x,), (y,), layer)


def _loss(n: int) -> Iterator[Operation]:
    scores, labels = _tensor(n, CLASSES), _tensor(n, dtype="int64")
    yield _operation("forward", "loss", "_log_softmax", (scores,), (scores,))
    yield _operation("forward", "loss", "nll_loss_forward", (labels,), (_tensor(1),))
    yield _operation("backward", "loss", "nll_loss_backward", (labels,), (scores,))
    yield _operation("backward", "loss", "_log_softmax_backward_data", (scores, scores), (scores,))


def _backward(layers: list[NetworkLayer], n: int) -> Iterator[Operation]:
    for index, (layer, biased) in reversed(list(enumerate(_has_bias(layers)))):
        x, y = _tensor(n, *layer.input_size), _tensor(n, *layer.output_size)
        channels = layer.input_size[0]
        match layer.kind:
            case LayerKind.CONV:
                yield from _convolution_backward(layer, n, first=index == 0, biased=biased)
            case LayerKind.LINEAR:
                yield from _linear_backward(layer, n)
            case LayerKind.BATCH_NORM:
                scale = (_tensor(channels),) * 2
                yield _operation(
                    "backward", "normalisation", "native_batch_norm_backward",
                    (x, x, *scale), (x, *scale), layer,
                )  # fmt: skip
            case LayerKind.RELU:
                yield _operation(
                    "backward", "activation", "threshold_backward", (x, x), (x,), layer
                )
            case LayerKind.ADD:  # where the branches began, their gradients meet
                began = _tensor(n, *_began(layers, index))
                yield _operation("backward", "addition", "add", (began, began), (began,), layer)
            case LayerKind.DROPOUT:
                mask = _tensor(n, *layer.output_size, dtype="bool")
                yield _operation(
                    "backward", "activation", "native_dropout_backward", (y, mask), (x,), layer
                )
            case LayerKind.MAX_POOL:
                places = _tensor(n, *layer.output_size, dtype="int64")
                yield _operation(
                    "backward", "pooling", "max_pool2d_with_indices_backward", (y, places), (x,),
                    layer, kernel_size=[layer.window, layer.window],
                )  # fmt: skip
            case LayerKind.AVG_POOL:
                yield _operation("backward", "pooling", "div", (y,), (x,), layer)


def _began(layers: list[NetworkLayer], index: int) -> tuple[int, int, int]:
    """Size of the tensor at which the branches of an addition began: the last block's result."""
    prefix = layers[index].name.rpartition(".")[0]
    first = next(i for i, one in enumerate(layers) if one.name.startswith(f"{prefix}."))
    return layers[first].input_size


def _convolution_backward(
    layer: NetworkLayer, n: int, *, first: bool, biased: bool
) -> Iterator[Operation]:
    assert layer.shape is not None
    macs = n * layer.shape.dense_macs
    x, dy = _tensor(n, *layer.input_size), _tensor(n, *layer.output_size)
    weight = _tensor(*layer.shape.weight_shape)
    if not first:  # nobody needs the gradient of the pictures
        yield _operation(
            "backward", "convolution", "convolution_backward.dgrad", (dy, weight), (x,), layer, macs
        )
    yield _operation(
        "backward", "convolution", "convolution_backward.wgrad", (dy, x), (weight,), layer, macs
    )
    if biased:
        bias = (_tensor(layer.shape.K),)
        yield _operation("backward", "addition", "convolution_backward.bias", (dy,), bias, layer)


def _linear_backward(layer: NetworkLayer, n: int) -> Iterator[Operation]:
    assert layer.shape is not None
    macs = n * layer.shape.dense_macs
    x, dy = _tensor(n, layer.shape.C), _tensor(n, layer.shape.K)
    weight = _tensor(layer.shape.K, layer.shape.C)
    yield _operation("backward", "matmul", "mm", (dy, weight), (x,), layer, macs)
    yield _operation("backward", "matmul", "mm", (dy, x), (weight,), layer, macs)
    yield _operation("backward", "addition", "sum", (dy,), (_tensor(layer.shape.K),), layer)


def _optimizer(layers: list[NetworkLayer]) -> Iterator[Operation]:
    count = 0
    for layer, biased in _has_bias(layers):
        if layer.shape is not None:
            count += math.prod(layer.shape.weight_shape)
            count += layer.shape.K if biased or layer.kind is LayerKind.LINEAR else 0
        elif layer.kind is LayerKind.BATCH_NORM:
            count += 2 * layer.input_size[0]
    one = _tensor(count)
    yield _operation("optimizer", "optimizer", "_foreach_add", (one, one), (one,))  # weight decay
    yield _operation("optimizer", "optimizer", "_foreach_mul_", (one,), (one,))
    yield _operation("optimizer", "optimizer", "_foreach_add_", (one, one), (one,))
    yield _operation("optimizer", "optimizer", "_foreach_add_", (one, one), (one,))
