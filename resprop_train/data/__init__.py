"""The data sets that the command line offers, by name; nothing is ever downloaded."""

from __future__ import annotations

from pathlib import Path

from resprop_train.data.bundled import digits, mnist5k, pictures
from resprop_train.data.cifar import cifar
from resprop_train.data.folder import image_folder
from resprop_train.data.idx import PREFIX, idx
from resprop_train.data.source import Dataset, Source
from resprop_train.errors import TrainError

__all__ = ["BUNDLED", "DATASETS", "LOCAL", "Dataset", "Source", "load_dataset"]

BUNDLED = {
    "digits": digits,
    "mnist5k": mnist5k,
    "pictures": pictures,
    "pictures32": lambda: pictures(size=32),
}
LOCAL = {
    "cifar10": lambda folder: cifar("cifar10", folder),
    "cifar100": lambda folder: cifar("cifar100", folder),
    "folder": image_folder,
}
"""Data sets that are read from a folder of the user's."""
DATASETS = (*BUNDLED, *LOCAL)


def load_dataset(name: str, folder: Path | None = None) -> Dataset:
    """Return a data set; those in ``LOCAL`` are read from ``folder``, ``idx:FOLDER`` from that.

    Raises:
        TrainError: the name is unknown, a package or folder is missing, a file is damaged.
    """
    if name.startswith(PREFIX):
        return idx(Path(name.removeprefix(PREFIX)))
    if name not in DATASETS:
        raise TrainError(
            f"dataset must be one of {', '.join(DATASETS)}, or {PREFIX}FOLDER, got {name!r}"
        )
    if name in BUNDLED:
        return BUNDLED[name]()
    if folder is None:
        raise TrainError(f"data set {name} needs the folder that holds it (--data-folder)")
    if not folder.is_dir():
        raise TrainError(f"data set {name}: no such folder: {folder}")
    return LOCAL[name](folder)
