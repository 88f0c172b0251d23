"""Errors of the simulator: a user's (exit code 2) and our own (exit code 1)."""

from __future__ import annotations

from workloads.errors import GscnError


class ConfigError(GscnError, ValueError):
    """A configuration key, value or combination that no machine can have."""


class StepMismatchError(GscnError):
    """A training step that does not belong to the trace beside it."""


class DeadlockError(RuntimeError):
    """The fabric stopped with some component waiting forever; the message names it."""


class IdentityError(RuntimeError):
    """An accounting identity failed: the run is not a result."""
