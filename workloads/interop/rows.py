"""CSV rows whose errors name file, line and column."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from workloads.errors import LayerError, ShapeError, one_line, reason
from workloads.layer import check_label
from workloads.shape import LayerShape


@dataclass(frozen=True, kw_only=True)
class Row:
    """The cells of one line by column name; ``where`` is the file and line (from 1)."""

    where: str
    cells: Mapping[str, str]

    def has(self, column: str) -> bool:
        """Whether the line has a value in this column."""
        return bool(self.cells.get(column))

    def name(self, column: str) -> str:
        """A layer name.

        Raises:
            LayerError: it is missing or unprintable.
        """
        text = self.cells.get(column, "")
        try:
            check_label("layer name", text)
        except LayerError as error:
            raise LayerError(f"{self.where}, column {column}: {error}") from None
        return text

    def whole(self, column: str, default: int | None = None) -> int:
        """A whole number, or the default where the cell is empty.

        Raises:
            LayerError: it is no whole number, or missing without a default.
        """
        text = self.cells.get(column, "")
        if not text and default is not None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise LayerError(
                f"{self.where}, column {column}: must be a whole number, got {one_line(text)!r:.80}"
            )
        return int(text)

    def density(self, column: str, default: float) -> float:
        """A density from 0 to 1, or the default where the cell is empty.

        Raises:
            LayerError: it is no number from 0 to 1.
        """
        text = self.cells.get(column, "")
        if not text:
            return default
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1:
            raise LayerError(
                f"{self.where}, column {column}: must be from 0 to 1, got {one_line(text)!r:.80}"
            )
        return value

    def shape(self, **sizes: int | tuple[int, int]) -> LayerShape:
        """A layer shape.

        Raises:
            ShapeError: no convolution has it; the message names the line.
        """
        try:
            return LayerShape(**sizes)  # type: ignore[arg-type]
        except ShapeError as error:
            raise ShapeError(f"{self.where}: {error}") from None


def read_cells(path: str | Path) -> Iterator[tuple[str, list[str]]]:
    """Yield where it is and the stripped cells of each line that is not empty.

    Raises:
        LayerError: the file cannot be read as CSV.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            for cells in reader:
                stripped = [cell.strip() for cell in cells]
                if any(stripped):
                    yield f"{path}, line {reader.line_num}", stripped
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LayerError(f"{path}: cannot be read as CSV: {reason(error)}") from None
