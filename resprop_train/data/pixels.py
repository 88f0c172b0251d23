"""Reading one picture of any depth as colours from 0 to 255."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from resprop_train.errors import TrainError

DEEP = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
"""Pillow's modes of grey pictures with more than 8 bits, which it would clip."""
SIXTEEN_BITS = 65535


def check_picture(path: Path) -> None:
    """Raise TrainError for a picture that cannot be read later; only the header is read if it can.

    JPEG files, of which there may be a million, are not opened.
    """
    if path.suffix.lower() in (".jpg", ".jpeg"):
        return
    with _open(path) as picture:
        deep = picture.mode in DEEP
    if deep:
        read_picture(path)


def read_picture(path: Path) -> Any:
    """An ``RGB`` picture, or one of mode ``F`` from 0 to 255 where it was grey with more depth.

    Whole numbers of 16 bits are read from 0 to 65535, floats from 0 to 1.

    Raises:
        TrainError: the file is no picture, or has values outside its range.
    """
    from PIL import Image

    try:
        with _open(path) as picture:
            if picture.mode not in DEEP:
                return picture.convert("RGB")
            values = np.asarray(picture)
    except TrainError:
        raise
    except (OSError, ValueError, SyntaxError) as error:
        raise TrainError(f"{path}: not a readable picture: {error}") from None
    most = 1.0 if values.dtype.kind == "f" else float(SIXTEEN_BITS)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= most):  # NaN too
        raise TrainError(
            f"{path}: a grey picture of {values.dtype} must have values from 0 to {most:g}, "
            f"got {low:g} to {high:g}"
        )
    return Image.fromarray((values * (255.0 / most)).astype(np.float32))


def _open(path: Path) -> Any:
    from PIL import Image

    try:
        return Image.open(path)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise TrainError(f"{path}: not a readable picture: {error}") from None
