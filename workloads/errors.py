"""Errors that a user can cause: each is one line that says where, what, and what is allowed."""

from __future__ import annotations


class GscnError(Exception):
    """Base of every error that a user's input can cause; command lines print it and exit with 2."""


class ShapeError(GscnError, ValueError):
    """A layer shape that no convolution can have."""


class TraceError(GscnError):
    """A trace file that cannot be read or written."""
