"""The shape of one convolution layer, or of a matrix product for each sample and head."""

from __future__ import annotations

from dataclasses import dataclass, replace

from workloads.errors import ShapeError

MAX_DIMENSION = 1 << 24
"""Largest accepted size of one axis; the product of all may still be far larger."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerShape:
    """Sizes of a 2-D convolution, without the batch.

    Input C x H x W, filters K of (C / groups) x R x S, output K x P x Q. Stride, padding (the same
    on both sides) and dilation are (height, width) pairs. A fully connected layer is 1x1 on 1x1.

    With ``filters_per_sample`` each sample has filters of its own: a *matmul*, a matrix product for
    each sample and head, with heads as groups (:mod:`workloads.matmul`). It is 1x1 on H x 1.

    Raises:
        ShapeError: a size is not a positive int, groups do not divide C and K, the output is empty,
            or a matmul is none.
    """

    C: int
    H: int
    W: int
    K: int
    R: int
    S: int
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    filters_per_sample: bool = False

    def __post_init__(self) -> None:
        for name in ("C", "H", "W", "K", "R", "S"):
            _check_size(name, getattr(self, name), minimum=1)
        check_geometry(self.stride, self.padding, self.dilation, self.groups)
        if self.C % self.groups or self.K % self.groups:
            raise ShapeError(
                f"groups must divide C and K, got groups={self.groups}, C={self.C}, K={self.K}"
            )
        if self.P < 1 or self.Q < 1:
            raise ShapeError(
                f"output must be at least 1x1, got {self.P}x{self.Q} from input {self.H}x{self.W}, "
                f"filter {self.R}x{self.S}, stride {self.stride}, padding {self.padding}, "
                f"dilation {self.dilation}"
            )

        if self.filters_per_sample and not self._is_column_of_points():
            raise ShapeError("a matmul must have W, R, S, stride and dilation 1 and padding 0")

    def _is_column_of_points(self) -> bool:
        pairs = (self.stride, self.padding, self.dilation)
        return (self.W, self.R, self.S) == (1, 1, 1) and pairs == ((1, 1), (0, 0), (1, 1))

    @property
    def P(self) -> int:
        """Output height."""
        return _output_size(self.H, self.R, self.stride[0], self.padding[0], self.dilation[0])

    @property
    def Q(self) -> int:
        """Output width."""
        return _output_size(self.W, self.S, self.stride[1], self.padding[1], self.dilation[1])

    @property
    def activation_shape(self) -> tuple[int, int, int]:
        """Shape of one sample's input: (C, H, W)."""
        return (self.C, self.H, self.W)

    @property
    def gradient_shape(self) -> tuple[int, int, int]:
        """Shape of one sample's output gradient: (K, P, Q)."""
        return (self.K, self.P, self.Q)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """Shape of the filters, or of one sample's: (K, C / groups, R, S)."""
        return (self.K, self.C // self.groups, self.R, self.S)

    @property
    def dense_macs(self) -> int:
        """K * C/groups * R * S * P * Q: multiply-accumulates of one sample, the same in each phase.

        This is the usual count, in which the positions inside the padding are counted too.
        """
        return self.K * (self.C // self.groups) * self.R * self.S * self.P * self.Q

    def for_batch(self, batch_size: int) -> tuple[LayerShape, int]:
        """An ordinary convolution that does the same for a batch, and how many samples it has.

        Samples with filters of their own are groups of one sample; all else is what it is.

        Raises:
            ShapeError: the sizes of the whole batch are too large.
        """
        if not self.filters_per_sample:
            return self, batch_size
        together = replace(
            self,
            C=self.C * batch_size,
            K=self.K * batch_size,
            groups=self.groups * batch_size,
            filters_per_sample=False,
        )
        return together, 1


def check_geometry(stride: object, padding: object, dilation: object, groups: object) -> None:
    """Raise ShapeError unless these can belong to a layer."""
    _check_size("groups", groups, minimum=1)
    for name, pair, minimum in (
        ("stride", stride, 1),
        ("padding", padding, 0),
        ("dilation", dilation, 1),
    ):
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise ShapeError(f"{name} must be a (height, width) pair, got {pair!r}")
        for axis, value in zip("hw", pair, strict=True):
            _check_size(f"{name}_{axis}", value, minimum=minimum)


def _check_size(name: str, value: object, *, minimum: int) -> None:
    kind = "positive" if minimum == 1 else "non-negative"
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise ShapeError(f"{name} must be a {kind} int, got {value!r}")
    if value > MAX_DIMENSION:
        raise ShapeError(f"{name} must be at most {MAX_DIMENSION}, got {value}")


def _output_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
