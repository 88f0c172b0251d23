"""What a user can get wrong when asking for GPU times."""

from __future__ import annotations

from workloads.errors import GscnError


class GpuError(GscnError, ValueError):
    """An unknown device or model, or a table of layers that cannot be predicted."""
