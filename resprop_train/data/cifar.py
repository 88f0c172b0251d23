"""CIFAR-10 and CIFAR-100 from a local copy of the standard python or binary archives."""

from __future__ import annotations

import codecs
import io
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resprop_train.data.source import Dataset, in_memory
from resprop_train.errors import TrainError
from workloads.files import open_regular

PIXELS = 3 * 32 * 32
Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Archive:
    """The files of one published form: unpacked folder, archive name, training and test files."""

    folder: str
    archive: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    parse: Callable[[bytes], Part]


class _OnlyArrays(pickle.Unpickler):
    """The archives are pickles of arrays, lists and strings; nothing else may be made."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy":
            if name == "_reconstruct":  # its home differs between versions of NumPy
                return np.empty(0).__reduce__()[0]
            if name in ("ndarray", "dtype"):
                return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):  # how old protocols write bytes
            return codecs.encode
        raise pickle.UnpicklingError(f"unexpected object {module}.{name}")


def _parse_python(data: bytes, label_key: str) -> Part:
    content = _OnlyArrays(io.BytesIO(data), encoding="latin1").load()
    pixels = np.asarray(content["data"], dtype=np.uint8)
    return pixels.reshape(-1, 3, 32, 32), np.asarray(content[label_key], dtype=np.int64)


def _parse_binary(data: bytes, label_bytes: int) -> Part:
    """Records of label bytes (the last one counts) and 3,072 pixels."""
    records = np.frombuffer(data, dtype=np.uint8).reshape(-1, label_bytes + PIXELS)
    pixels = records[:, label_bytes:].reshape(-1, 3, 32, 32)
    return pixels, records[:, label_bytes - 1].astype(np.int64)


BATCHES = tuple(f"data_batch_{index}" for index in range(1, 6))
ARCHIVES = {
    "cifar10": (
        _Archive(
            folder="cifar-10-batches-py",
            archive="cifar-10-python.tar.gz",
            train=BATCHES,
            test=("test_batch",),
            parse=lambda data: _parse_python(data, "labels"),
        ),
        _Archive(
            folder="cifar-10-batches-bin",
            archive="cifar-10-binary.tar.gz",
            train=tuple(f"{name}.bin" for name in BATCHES),
            test=("test_batch.bin",),
            parse=lambda data: _parse_binary(data, 1),
        ),
    ),
    "cifar100": (
        _Archive(
            folder="cifar-100-python",
            archive="cifar-100-python.tar.gz",
            train=("train",),
            test=("test",),
            parse=lambda data: _parse_python(data, "fine_labels"),
        ),
        _Archive(
            folder="cifar-100-binary",
            archive="cifar-100-binary.tar.gz",
            train=("train.bin",),
            test=("test.bin",),
            parse=lambda data: _parse_binary(data, 2),
        ),
    ),
}


def cifar(name: str, folder: Path) -> Dataset:
    """``cifar10`` or ``cifar100`` from a folder that holds an archive or what it unpacks to.

    ``folder`` may also be the unpacked folder itself. Training pictures are shifted by up to four
    pixels and mirrored.

    Raises:
        TrainError: no such copy, or a file of it is missing or damaged.
    """
    for form in ARCHIVES[name]:
        place = _find(form, folder)
        if place is not None:
            train, test = (_load(form, place, names) for names in (form.train, form.test))
            return in_memory(name, train, test, shift=4, flip=True)
    wanted = " or ".join(f"{form.folder}/ or {form.archive}" for form in ARCHIVES[name])
    raise TrainError(f"{name}: {folder} must hold {wanted}")


def _find(form: _Archive, folder: Path) -> Path | None:
    """The unpacked folder or the archive, if there is one."""
    for place in (folder / form.folder, folder):
        if (place / form.train[0]).is_file() and place.name == form.folder:
            return place
    archive = folder / form.archive
    return archive if archive.is_file() else None


def _read(form: _Archive, place: Path, name: str) -> bytes:
    if place.is_dir():
        with open_regular(place / name) as file:
            return file.read()
    with tarfile.open(place) as tar:
        member = tar.extractfile(f"{form.folder}/{name}")
        if member is None:
            raise KeyError(name)
        return member.read()


def _load(form: _Archive, place: Path, names: tuple[str, ...]) -> Part:
    parts = []
    for name in names:
        where = str(place / name) if place.is_dir() else f"{place}: {name}"
        try:
            pixels, labels = form.parse(_read(form, place, name))
        except (KeyError, FileNotFoundError):
            raise TrainError(f"{where}: missing or without its labels") from None
        except (OSError, EOFError, ValueError, tarfile.TarError, pickle.UnpicklingError) as error:
            raise TrainError(f"{where}: damaged: {' '.join(str(error).split())}") from None
        if len(pixels) != len(labels) or len(pixels) == 0:
            raise TrainError(f"{where}: damaged: {len(pixels)} pictures, {len(labels)} labels")
        parts.append((pixels, labels))
    return np.concatenate([p for p, _ in parts]), np.concatenate([y for _, y in parts])
