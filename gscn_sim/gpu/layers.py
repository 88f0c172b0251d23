"""Tables of convolution layers, checked and turned into columns of numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gscn_sim.gpu.errors import GpuError
from workloads.errors import one_line
from workloads.shape import MAX_DIMENSION, LayerShape

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
REQUIRED = ("N", "C", "H", "W", "K", "R", "S", "pad_h", "pad_w", "stride_h", "stride_w")
DEFAULTS = {"dilation_h": 1, "dilation_w": 1, "groups": 1}
ALIASES = {"dil_h": "dilation_h", "dil_w": "dilation_w"}
"""Other names that columns may have."""
_MAY_BE_ZERO = ("pad_h", "pad_w")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Layers:
    """Sizes of convolution layers, one array a dimension; all calculations are column-wise."""

    N: Array
    C: Array
    H: Array
    W: Array
    K: Array
    R: Array
    S: Array
    pad_h: Array
    pad_w: Array
    stride_h: Array
    stride_w: Array
    dilation_h: Array
    dilation_w: Array
    groups: Array

    def __len__(self) -> int:
        return len(self.N)

    @property
    def P(self) -> Array:
        """Output height."""
        return np.floor(
            (self.H + 2 * self.pad_h - self.dilation_h * (self.R - 1) - 1) / self.stride_h + 1
        )

    @property
    def Q(self) -> Array:
        """Output width."""
        return np.floor(
            (self.W + 2 * self.pad_w - self.dilation_w * (self.S - 1) - 1) / self.stride_w + 1
        )

    @property
    def flops(self) -> Array:
        """2 * N*K*C/groups*R*S*P*Q: operations of each of the three passes, padding included."""
        return 2 * self.N * self.P * self.Q * self.weight_elements

    @property
    def input_elements(self) -> Array:
        """Elements of the input and of its gradient."""
        return self.N * self.C * self.H * self.W

    @property
    def weight_elements(self) -> Array:
        """Elements of the filters and of their gradient."""
        return self.K * self.C / self.groups * self.R * self.S

    @property
    def output_elements(self) -> Array:
        """Elements of the output and of its gradient."""
        return self.N * self.K * self.P * self.Q

    @property
    def operand_bytes(self) -> Array:
        """fp32 bytes of input, filters and output: each pass reads two and writes the third."""
        return 4 * (self.input_elements + self.weight_elements + self.output_elements)


def layers_frame(shapes: Sequence[LayerShape], batch_size: int) -> pd.DataFrame:
    """Make the table that ``predict`` takes from layer shapes and one batch size."""
    return sized_frame([(shape, batch_size) for shape in shapes])


def sized_frame(layers: Iterable[tuple[LayerShape, int]]) -> pd.DataFrame:
    """The same of layers that have a batch size each.

    Matmuls, whose samples have filters of their own, are convolutions of one sample in groups.
    """
    import pandas as pd

    rows = [
        {
            "N": n,
            **{name: getattr(s, name) for name in "CHWKRS"},
            **{f"pad_{axis}": v for axis, v in zip("hw", s.padding, strict=True)},
            **{f"stride_{axis}": v for axis, v in zip("hw", s.stride, strict=True)},
            **{f"dilation_{axis}": v for axis, v in zip("hw", s.dilation, strict=True)},
            "groups": s.groups,
        }
        for s, n in (shape.for_batch(batch_size) for shape, batch_size in layers)
    ]
    return pd.DataFrame(rows, columns=[*REQUIRED, *DEFAULTS])


def checked_layers(table: pd.DataFrame) -> Layers:
    """Read a table's sizes; columns beyond those known are left alone.

    Raises:
        GpuError: a column is missing, or a value in a row (counted from 1) is not a whole number in
            its range, or makes the output empty.
    """
    table = with_full_names(table)
    missing = [name for name in REQUIRED if name not in table.columns]
    if missing:
        raise GpuError(
            f"the table of layers lacks column {', '.join(missing)}; "
            f"it needs {', '.join(REQUIRED)} and may have {', '.join(DEFAULTS)}"
        )
    columns = {name: _sizes(table, name) for name in REQUIRED}
    for name, default in DEFAULTS.items():
        if name in table.columns:
            columns[name] = _sizes(table, name)
        else:
            columns[name] = np.full(len(table), float(default))
    layers = Layers(**columns)
    _check_relations(layers)
    return layers


def with_full_names(table: pd.DataFrame) -> pd.DataFrame:
    """The table with ``dil_h`` called ``dilation_h``, and so on.

    Raises:
        GpuError: a column is there under both names.
    """
    for short, name in ALIASES.items():
        if short in table.columns and name in table.columns:
            raise GpuError(f"the table of layers has both {short} and {name}; keep one")
    return table.rename(columns=ALIASES)


def _sizes(table: pd.DataFrame, name: str) -> Array:
    import pandas as pd

    values = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=float)
    least = 0 if name in _MAY_BE_ZERO else 1
    with np.errstate(invalid="ignore"):
        good = (values == np.floor(values)) & (values >= least) & (values <= MAX_DIMENSION)
    if not good.all():
        row = int(np.argmin(good))
        raise GpuError(
            f"row {row + 1}: {name} must be a whole number from {least} to {MAX_DIMENSION}, "
            f"got {one_line(table[name].iloc[row])[:80]}"
        )
    return values


def _check_relations(layers: Layers) -> None:
    checks = (
        (
            "R",
            layers.P >= 1,
            "small enough for an output at least one high, output height is",
            layers.P,
        ),
        (
            "S",
            layers.Q >= 1,
            "small enough for an output at least one wide, output width is",
            layers.Q,
        ),
        ("groups", layers.C % layers.groups == 0, "a divisor of C", layers.C),
        ("groups", layers.K % layers.groups == 0, "a divisor of K", layers.K),
    )
    for name, good, rule, limit in checks:
        if not good.all():
            row = int(np.argmin(good))
            raise GpuError(
                f"row {row + 1}: {name} must be {rule} ({limit[row]:.0f}), "
                f"got {getattr(layers, name)[row]:.0f}"
            )


def take(layers: Layers, rows: NDArray[np.int_]) -> Layers:
    """The layers at the given positions."""
    return Layers(**{f.name: getattr(layers, f.name)[rows] for f in dataclasses.fields(layers)})
