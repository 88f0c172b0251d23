"""Errors of a sweep that a user can cause."""

from __future__ import annotations

from workloads import GscnError


class SpaceError(GscnError, ValueError):
    """A space that says something impossible, or nothing."""


class StoreError(GscnError):
    """A store that cannot be read or written."""


class ClusterError(GscnError):
    """A cluster that cannot be used."""
