"""Writing results: a file appears whole under its name or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from workloads.errors import GscnError, one_line
from workloads.files import atomic_file

if TYPE_CHECKING:
    import pandas as pd

FORMULA_STARTS = ("=", "+", "-", "@")
TABLE_SUFFIXES = (".csv", ".parquet", ".json")


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[BinaryIO]:
    """Give a binary file that takes the place of ``path`` when the block ends well.

    Raises:
        GscnError: the folder is missing, read-only or full, or ``path`` is no regular file.
    """
    try:
        with atomic_file(path) as file:
            yield file
    except OSError as error:
        raise GscnError(f"{path}: cannot be written: {error.strerror or error}") from error


def check_writable(*paths: str | Path | None) -> None:
    """Check before work that files can be written later; None is left out.

    Raises:
        GscnError: the folder of one is missing or read-only, or its name is that of something that
            is no regular file.
    """
    for path in paths:
        if path is None:
            continue
        target = Path(os.path.realpath(path))
        why = None
        if not target.parent.is_dir():
            why = f"no such folder: {target.parent}"
        elif target.exists() and not target.is_file():
            why = "not a regular file"
        elif not os.access(target.parent, os.W_OK | os.X_OK):
            why = f"{target.parent}: {os.strerror(errno.EACCES)}"
        if why is not None:
            raise GscnError(f"{path}: cannot be written: {why}")


def make_folder(path: str | Path) -> Path:
    """Make sure that an output folder exists.

    Raises:
        GscnError: it cannot be made, or something else has its name.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GscnError(f"{path}: cannot be made: {error.strerror or error}") from error
    return Path(path)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically; what a path holds that is no text is escaped."""
    with whole_file(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def write_json(path: str | Path, value: Any) -> None:
    """Write strict JSON atomically; NaN becomes null."""
    write_text(path, to_json(value) + "\n")


def write_table(
    path: str | Path, frame: pd.DataFrame, sidecar: Mapping[str, Any], *, suffix: str = ""
) -> None:
    """Write a table by its suffix (or the one given), and what it came from beside it.

    The second file, ``<path>.provenance.json``, holds ``sidecar``; it is in place before the table.

    Raises:
        GscnError: the suffix is not one of ``.csv .parquet .json``, pyarrow is missing for Parquet,
            or the files cannot be written.
    """
    suffix = suffix or table_suffix(path)
    write_json(f"{path}.provenance.json", sidecar)
    if suffix == ".json":
        write_json(path, records(frame))
        return
    with whole_file(path) as file:
        if suffix == ".csv":
            file.write(csv_text(frame).encode("utf-8", "backslashreplace"))
        else:
            frame.to_parquet(file, index=False, engine="pyarrow")


def csv_text(frame: pd.DataFrame) -> str:
    """The table as CSV; a text that a spreadsheet would take for a formula begins with ``'``.

    Unprintable characters are escaped.
    """
    safe = frame.copy(deep=False)
    for name in safe.columns:
        if not _numeric(safe[name]):
            safe[name] = safe[name].map(_no_formula)
    safe.columns = [_no_formula(str(name)) for name in safe.columns]
    text: str = safe.to_csv(index=False, lineterminator="\n")
    return text


def _numeric(column: pd.Series) -> bool:
    return column.dtype.kind in "biufc"


def _no_formula(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return one_line(f"'{value}" if value.startswith(FORMULA_STARTS) else value)


def table_suffix(path: str | Path) -> str:
    """The suffix of a table's path, checked.

    Raises:
        GscnError: it is none of ``.csv .parquet .json``, or pyarrow is missing for Parquet.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise GscnError(f"{path}: a table's name must end in {', '.join(TABLE_SUFFIXES)}")
    if suffix == ".parquet":
        try:
            import pyarrow  # type: ignore[import-untyped]  # noqa: F401
        except ImportError:
            raise GscnError(
                f"{path}: Parquet needs pyarrow (pip install 'gscn-sim[parquet]'), or use .csv"
            ) from None
    return suffix


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as dicts of plain Python values; a missing number is None."""
    return [
        {str(name): plain(value) for name, value in row.items()}
        for row in frame.to_dict(orient="records")
    ]


def plain(value: Any) -> Any:
    """A value that strict JSON can hold: plain containers and numbers, None for NaN."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item"):  # a NumPy scalar
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)


def to_json(value: Any) -> str:
    """Strict JSON text, indented, keys in the order given."""
    return json.dumps(plain(value), indent=2, allow_nan=False)


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with a digest of all else in it, which :func:`is_whole` checks."""
    return {**document, "digest": _digest(document)}


def is_whole(document: Mapping[str, Any]) -> bool:
    """Whether a document is what its digest says; those of version 0.1 carry none."""
    content = {key: value for key, value in document.items() if key != "digest"}
    return "digest" not in document or document["digest"] == _digest(content)


def _digest(document: Mapping[str, Any]) -> str:
    text = json.dumps(plain(document), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def whole_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with columns of floats that are all whole as integers, to be shown as such."""
    floats = frame.select_dtypes("float")
    whole = [name for name in floats if (floats[name] % 1 == 0).all()]
    return frame.astype(dict.fromkeys(whole, "int64"))


def digits(value: float | None, scale: float = 1.0) -> str:
    """A number to four significant digits, ``-`` where there is none."""
    if value is None or not math.isfinite(value):
        return "-"
    if isinstance(value, int) and scale == 1:
        return f"{value:,}"
    scaled = value * scale
    if scaled != 0 and not 1e-3 <= abs(scaled) < 1e7:
        return f"{scaled:.3g}"
    decimals = max(0, 3 - math.floor(math.log10(abs(scaled)))) if scaled else 0
    return f"{scaled:,.{decimals}f}"
