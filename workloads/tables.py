"""The reader of every table that people hand in, with one set of rules.

- Encoding: UTF-8, or what a byte order mark says, or UTF-16 whose first character is ASCII.
- Separator: comma, semicolon or tab, whichever splits the header; a line ``sep=;`` may name it.
- One line of names, each there once; then lines with as many cells as there are names. Empty lines
  and lines that start with ``#`` are left out. What stands in a column without a name is refused,
  but for the index that pandas writes into the first column: whole numbers that increase (a single
  one is 0), or different ones under ``Unnamed: 0``.
- Whole numbers may end in ``.0``. A decimal comma is one where commas do not separate. In such a
  file ``1.000`` and ``1,000`` are refused as whole numbers: nobody can tell 1 from 1000.
"""

from __future__ import annotations

import codecs
import csv
import math
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workloads.errors import (
    GscnWarning,
    LayerError,
    ShapeError,
    did_you_mean,
    one_line,
    reason,
)
from workloads.files import read_regular
from workloads.layer import check_label
from workloads.sealed_text import DIGEST, first_damaged
from workloads.shape import LayerShape

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
INDEX_NAMES = ("", "Unnamed: 0")
"""What pandas calls an index without a name when it writes one, and when it has read it back."""
_MARKS = (  # the longer ones first: UTF-32's mark starts as UTF-16's does
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_WHOLE = re.compile(r"([0-9]{1,19})(?:[.,](0+))?")
_DECIMAL = re.compile(r"(?:[0-9]+[.,]?[0-9]*|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True, kw_only=True)
class Row:
    """The cells of one line by column name; ``where`` is the file and line (from 1)."""

    where: str
    cells: Mapping[str, str]
    separator: str = ","

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
        match = _WHOLE.fullmatch(text)
        if match is None or ("," in text and self.separator == ","):
            raise self._wrong(column, "a whole number", text)
        if match[2] is not None and len(match[2]) == 3 and self.separator != ",":
            raise self._wrong(column, "a whole number without thousands separators", text)
        return int(match[1])

    def number(self, column: str) -> float:
        """A finite number of at least 0.

        Raises:
            LayerError: it is missing or something else.
        """
        text = self.cells.get(column, "")
        value = self._decimal(text)
        if not 0 <= value < math.inf:
            raise self._wrong(column, "a number of at least 0", text)
        return value

    def density(self, column: str, default: float) -> float:
        """A density from 0 to 1, or the default where the cell is empty.

        Raises:
            LayerError: it is no number from 0 to 1.
        """
        text = self.cells.get(column, "")
        if not text:
            return default
        value = self._decimal(text)
        if not 0 <= value <= 1:
            raise self._wrong(column, "from 0 to 1", text)
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

    def _decimal(self, text: str) -> float:
        """The number, or -1 where it is none."""
        readable = _DECIMAL.fullmatch(text) and not ("," in text and self.separator == ",")
        return float(text.replace(",", ".")) if readable else -1.0

    def _wrong(self, column: str, allowed: str, text: str) -> LayerError:
        return LayerError(
            f"{self.where}, column {column}: must be {allowed}, got {one_line(text)!r:.80}"
        )


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table's columns by the names by which they are known, and its lines."""

    path: str
    header_line: int
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def check_columns(self, *, required: Collection[str], optional: Collection[str]) -> None:
        """Check which columns there are.

        Raises:
            LayerError: a required one is missing, or one is unknown (the message proposes a name),
                or there is no line.
        """
        where = f"{self.path}, line {self.header_line}"
        if missing := [name for name in required if name not in self.columns]:
            raise LayerError(f"{where}: must have column {', '.join(missing)}")
        known = [*required, *optional]
        if unknown := [name for name in self.columns if name not in known]:
            raise LayerError(
                f"{where}: columns may be {', '.join(known)}, got {one_line(unknown[0])!r:.80}"
                f"{did_you_mean(unknown[0], known)}"
            )
        if not self.rows:
            raise LayerError(f"{where}: must have at least one line below, got none")


def read_table(
    path: str | Path,
    *,
    canonical: Callable[[str], str] = str,
    last_column: str | None = None,
    digests: bool = False,
) -> Table:
    """Read a table by the rules of this module.

    Args:
        path: the file.
        canonical: gives a column the name by which it is known; two columns of one name are
            refused.
        last_column: the name of a column that may follow those of the header without being named
            there; lines may then end early too. For formats whose own reader allows that.
        digests: whether a last column ``digest`` says of each line that it is what was written
            after those before. A last line that was cut off is then left out, with a warning.

    Raises:
        LayerError: the file cannot be read, or is no table by these rules.
    """
    path = str(path)
    every_line = _lines(path)
    lines = iter(every_line)
    number, header, separator = _header(path, lines)
    header = [canonical(name) if name else "" for name in header]
    if last_column is not None and last_column not in header:
        header.append(last_column)
    body = []
    for line_number, line in lines:
        if line.strip() and not line.startswith("#"):
            cells = _cells(path, line_number, line, separator)
            if any(cells):
                body.append((f"{path}, line {line_number}", cells))
    skipped = _index_columns(header, [cells for _, cells in body])
    names = header[skipped:]
    if digests and names[-1:] == [DIGEST]:
        cut_off = every_line[-1][1] != ""
        body = _whole(names[:-1], body, skipped, cut_off=cut_off)
    if numbers := [name for name in names if _DECIMAL.fullmatch(name)]:
        raise LayerError(
            f"{path}, line {number}: the first line must name the columns, got the number "
            f"{numbers[0]!r:.80}"
        )
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise LayerError(
            f"{path}, line {number}: a column must be there only once, got "
            f"{one_line(twice[0])!r:.80} twice"
        )
    rows = []
    for where, cells in body:
        _check_width(where, names, cells[skipped:], ragged=last_column is not None)
        named = dict(zip(names, cells[skipped:], strict=False))
        named.pop("", None)
        rows.append(Row(where=where, cells=named, separator=separator))
    columns = tuple(name for name in names if name)
    return Table(path=path, header_line=number, columns=columns, rows=tuple(rows))


def _whole(
    columns: Sequence[str], body: list[tuple[str, list[str]]], skipped: int, *, cut_off: bool
) -> list[tuple[str, list[str]]]:
    """The lines that are what was written; of a file cut off, all but the last if that is not.

    Raises:
        LayerError: another one is not.
    """
    place = first_damaged(columns, [cells[skipped:] for _, cells in body])
    if place is None:
        return body
    where, _ = body[place]
    if cut_off and place == len(body) - 1:
        warnings.warn(f"{where}: was cut off and is left out", GscnWarning, stacklevel=4)
        return body[:-1]
    raise LayerError(
        f"{where}: is not what was written, or lines before it are missing; if it was changed on "
        f"purpose, delete the column {DIGEST}"
    )


def _lines(path: str) -> list[tuple[int, str]]:
    """The lines of a text file and their numbers."""
    try:
        content = read_regular(path)
        encoding = _encoding(content)
        text = content.decode(encoding)
    except OSError as error:
        raise LayerError(f"{path}: cannot be read as a table: {reason(error)}") from None
    except UnicodeDecodeError as error:
        line = f", line {content.count(10, 0, error.start) + 1}" if encoding == "utf-8" else ""
        raise LayerError(
            f"{path}{line}: cannot be read as a table: it must be UTF-8, or UTF-16 with its mark"
        ) from None
    if "\0" in text:
        raise LayerError(f"{path}: cannot be read as a table: it is no text")
    return list(enumerate(re.split("\r\n|\n|\r", text), start=1))


def _encoding(content: bytes) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding
    if len(content) % 2 == 0 and content[:2].count(0) == 1:
        return "utf-16-be" if content[0] == 0 else "utf-16-le"
    return "utf-8"


def _header(path: str, lines: Iterator[tuple[int, str]]) -> tuple[int, list[str], str]:
    """Number and cells of the first line that says something, and what separates them."""
    given = None
    for number, line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        if given is None and (match := re.fullmatch("sep=(.)", line.strip("\r\n"))):
            given = match[1]
            if given not in SEPARATORS:
                raise LayerError(
                    f"{path}, line {number}: cells must be separated by "
                    f"{', '.join(SEPARATORS.values())}, got {given!r}"
                )
            continue
        separator = given or _separator(path, number, line)
        header = _cells(path, number, line, separator)
        while header and not header[-1]:
            header.pop()
        if header:
            return number, header, separator
    raise LayerError(f"{path}: must hold a line of column names, got none")


def _separator(path: str, number: int, line: str) -> str:
    """The separator that leaves none of the others inside a cell."""
    found = [candidate for candidate in SEPARATORS if candidate in line]
    for separator in found:
        cells = _cells(path, number, line, separator)
        if not any(other in cell for cell in cells for other in SEPARATORS):
            return separator
    if not found:
        return ","
    raise LayerError(
        f"{path}, line {number}: one kind of separator must divide the column names, got "
        f"{' and '.join(SEPARATORS[separator] for separator in found)}"
    )


def _cells(path: str, number: int, line: str, separator: str) -> list[str]:
    """The stripped cells of one line, in which a quoted one must end."""
    try:
        (cells,) = csv.reader([line], delimiter=separator, strict=True, skipinitialspace=True)
    except csv.Error as error:
        raise LayerError(
            f"{path}, line {number}: cannot be read as a table: {reason(error)}"
        ) from None
    return [cell.strip() for cell in cells]


def _index_columns(header: Sequence[str], body: Sequence[Sequence[str]]) -> int:
    """How many columns (0 or 1) are the index that pandas writes in front."""
    index = [cells[0] for cells in body]
    if header[0] not in INDEX_NAMES or len(header) == 1 or not index:
        return 0
    if not all(text.isascii() and text.isdigit() and len(text) < 20 for text in index):
        return 0
    numbers = [int(text) for text in index]
    counts = len(set(numbers)) == len(numbers) and (header[0] or numbers == sorted(numbers))
    return int(bool(counts) and (len(numbers) > 1 or header[0] != "" or numbers == [0]))


def _check_width(where: str, names: Sequence[str], cells: Sequence[str], ragged: bool) -> None:
    """Refuse cells that stand under no name, and lines that end early.

    Raises:
        LayerError: there are such.
    """
    named = [index < len(names) and bool(names[index]) for index in range(len(cells))]
    unnamed = [cell for cell, has_name in zip(cells, named, strict=True) if cell and not has_name]
    if unnamed:
        raise LayerError(
            f"{where}: every cell must stand under a column name, {one_line(unnamed[0])!r:.80} "
            "does not (a decimal comma, a separator inside a name, or an index?)"
        )
    if len(cells) < len(names) and not ragged:
        raise LayerError(
            f"{where}: must have a cell for each of the {len(names)} columns, got {len(cells)}"
        )
