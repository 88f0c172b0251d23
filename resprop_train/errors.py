"""Errors that a user of the trainer can cause, each one line."""

from __future__ import annotations

from workloads.errors import GscnError


class TrainError(GscnError, ValueError):
    """A setting, model, data set or checkpoint with which training cannot run."""


def check_reuse_sparsity(value: float, name: str = "reuse_sparsity") -> float:
    """Return the fraction of zeros wanted in the gradient delta if it lies in [0, 1).

    Raises:
        TrainError: it does not; a value that looks like a percentage is named as one.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TrainError(f"{name} must be a number in [0, 1), got {value!r}")
    if 0.0 <= value < 1.0:
        return float(value)
    if 1.0 < value < 100.0:
        raise TrainError(
            f"{name} must be a fraction in [0, 1), got {value:g}; "
            f"for {value:g} percent write {value / 100:g}"
        )
    raise TrainError(f"{name} must be in [0, 1), got {value:g}")
