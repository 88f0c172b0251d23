"""Pictures in IDX files, the format of MNIST, Fashion-MNIST and KMNIST, packed by gzip or plain."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resprop_train.data.source import Dataset, in_memory
from resprop_train.errors import TrainError
from workloads.files import open_regular

PREFIX = "idx:"
PARTS = {"train": "train", "test": "t10k"}
DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""IDX's codes of element types."""


def idx(folder: Path) -> Dataset:
    """The data set of ``train-images-idx3-ubyte``, ``t10k-labels-idx1-ubyte`` and so on.

    A file may end in ``.gz``; a dot may stand for the hyphen before ``idx``. Training pictures are
    shifted by up to two pixels.

    Raises:
        TrainError: a file is missing, damaged or not of its format, or they do not fit each other.
    """
    if not folder.is_dir():
        raise TrainError(f"data set idx: no such folder: {folder}")
    parts = []
    for prefix in PARTS.values():
        images, labels = _find(folder, prefix, "images", 3), _find(folder, prefix, "labels", 1)
        x, y = read_idx(images), read_idx(labels)
        if x.ndim not in (3, 4):
            raise TrainError(f"{images}: must have 3 or 4 axes, got {x.ndim}")
        if y.ndim != 1 or y.dtype.kind not in "iu" or len(x) != len(y):
            raise TrainError(
                f"{labels}: must have one whole number for each of the {len(x)} pictures, "
                f"got {y.dtype} of shape {list(y.shape)}"
            )
        if len(y) == 0 or y.min() < 0:
            raise TrainError(f"{labels}: must have labels from 0 on, got {y[:3].tolist()}")
        parts.append((x[:, None] if x.ndim == 3 else x, y))
    train, test = parts
    if train[0].shape[1:] != test[0].shape[1:]:
        raise TrainError(
            f"{folder}: training and test pictures must have one size, "
            f"got {list(train[0].shape[1:])} and {list(test[0].shape[1:])}"
        )
    if train[0].shape[2] != train[0].shape[3]:
        raise TrainError(f"{folder}: pictures must be square, got {list(train[0].shape[2:])}")
    return in_memory(folder.resolve().name, train, test, shift=2)


def read_idx(path: Path) -> NDArray[np.generic]:
    """The array in an IDX file.

    Raises:
        TrainError: the file cannot be read or is not such a file.
    """
    try:
        with open_regular(path) as file:
            content = file.read()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise TrainError(f"{path}: cannot read: {getattr(error, 'strerror', None) or error}") from (
            None
        )
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in DTYPES or not content[3]:
        raise TrainError(f"{path}: not an IDX file: begins with {content[:4].hex() or 'nothing'}")
    axes = content[3]
    start = 4 + 4 * axes
    shape = np.frombuffer(content[4:start], dtype=">u4") if len(content) >= start else None
    dtype = np.dtype(DTYPES[content[2]])
    expected = None if shape is None else start + dtype.itemsize * int(np.prod(shape, dtype=object))
    if shape is None or len(content) != expected:
        raise TrainError(f"{path}: damaged: {len(content)} bytes instead of {expected or 'more'}")
    values = np.frombuffer(content, dtype=dtype, offset=start).reshape(shape.tolist())
    return values.astype(dtype.newbyteorder("="))


def _find(folder: Path, prefix: str, what: str, axes: int) -> Path:
    names = [f"{prefix}-{what}{mark}idx{axes}-ubyte" for mark in "-."]
    for name in names:
        for suffix in ("", ".gz"):
            if (folder / f"{name}{suffix}").is_file():
                return folder / f"{name}{suffix}"
    raise TrainError(f"{folder}: must hold {names[0]} or {names[0]}.gz")
