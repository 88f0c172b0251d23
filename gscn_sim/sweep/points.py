"""What one point of a sweep is, and how it is recognised again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gscn_sim.config import Config
from gscn_sim.config.loader import flatten_config
from gscn_sim.sweep.space import Params
from workloads import Trace, load


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A trace at one batch size; at the trace's own, each iteration keeps its own."""

    path: str
    network: str
    digest: str
    batch_size: int

    @classmethod
    def load(cls, path: str, batch_size: int | None = None) -> Workload:
        """The workload of a trace file, at its own batch size by default.

        Raises:
            TraceError: the trace cannot be read.
        """
        return cls.of(path, load(path), batch_size)

    @classmethod
    def of(cls, path: str, trace: Trace, batch_size: int | None = None) -> Workload:
        """The workload of a trace that has been loaded from ``path``."""
        return cls(
            path=path,
            network=trace.network,
            digest=trace.digest,
            batch_size=batch_size or trace.batch_size,
        )

    def batch_of(self, trace: Trace) -> int | None:
        """The batch size of every layer, None where each iteration keeps its own."""
        return None if self.batch_size == trace.batch_size else self.batch_size


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all points of a sweep have in common."""

    phases: tuple[str, ...]
    gpu: str
    gpu_model: str


@dataclass(frozen=True, kw_only=True)
class Point:
    """One design on one workload; ``config`` is None where no machine has its values."""

    position: int
    params: Params
    config: Config | None
    workload: Workload
    setting: Setting
    error: str = ""
    fidelity: str = "exact"

    @cached_property
    def key(self) -> str:
        """Digest of all that decides the result but the code: equal points have equal keys."""
        machine = self.params if self.config is None else flatten_config(self.config)
        return digest(
            {
                "machine": machine,
                "trace": self.workload.digest,
                "batch_size": self.workload.batch_size,
                "phases": sorted(self.setting.phases),
                "gpu": [self.setting.gpu, self.setting.gpu_model],
                **({} if self.fidelity == "exact" else {"fidelity": self.fidelity}),
            }
        )


def digest(value: Any) -> str:
    """First 32 hex digits of the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
