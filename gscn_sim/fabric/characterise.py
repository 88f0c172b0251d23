"""What a memory makes of a pattern of requests, as a share of its peak bandwidth."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from gscn_sim.config import Config, DramConfig, load_config
from gscn_sim.fabric.memory_controllers import FirstReady
from gscn_sim.problem.geometry import Ints
from gscn_sim.units import ceil_div, exact
from workloads.errors import GscnError

_CHANNEL_BYTES = 1 << 30  # addresses are spread over, or streams divide, so much of each channel
_BURSTS = 30_000  # moved in each channel, so that many refreshes are among them
_PIECES = 4_000  # that requests have in each channel, so that chance shares them out evenly
_PATTERNS = (
    "sequential, random, 'N streams in turn', 'read and write stream in turn' or 'stride N' (bytes)"
)


class PatternError(GscnError):
    """A pattern of requests that cannot be made."""


def characterise_memory(
    memory: str | Config,
    pattern: str,
    request_bytes: int,
    read_fraction: float = 1.0,
    *,
    overrides: Mapping[str, Any] | None = None,
) -> float:
    """The share of its peak that a memory reaches when all requests are there from the start.

    ``sequential``: one behind the other. ``random``: anywhere, at multiples of ``request_bytes``,
    from a fixed seed. ``N streams in turn``: each goes on where it left off; they start in the same
    bank. ``read and write stream in turn``: two such streams, one of them written. ``stride N``: N
    bytes from request to request. The addresses fill 1 GiB of each channel.

    Args:
        memory: one of the values of ``dram.preset``, or a whole configuration.
        pattern: see above.
        request_bytes: bytes of a request, rounded up to whole bursts.
        read_fraction: reads among the requests, evenly spread, reads first; 0.5 is in turn.
        overrides: keys of a named memory to change, as for :func:`gscn_sim.load_config`.

    Raises:
        PatternError: the pattern, the size or the fraction is none of those allowed.
        ConfigError: no such memory or key.
    """
    dram = _memory(memory, overrides or {})
    if isinstance(request_bytes, bool) or not isinstance(request_bytes, int) or request_bytes < 1:
        raise PatternError(f"request_bytes must be a positive int, got {request_bytes!r}")
    if not 0.0 <= read_fraction <= 1.0:
        raise PatternError(f"read_fraction must be between 0 and 1, got {read_fraction!r}")
    size = ceil_div(request_bytes, dram.burst_bytes)
    pieces = ceil_div(request_bytes, dram.interleave_bytes)
    count = dram.channels * max(ceil_div(_PIECES, pieces), ceil_div(_BURSTS, size))
    first, write = _requests(dram, pattern, request_bytes, read_fraction, count)
    end = FirstReady(dram).serve_all(first, size, write)
    bits_per_ns = dram.channels * dram.channel_bits * exact(dram.transfers_gtps)
    return float(count * size * dram.burst_bytes * 8 * 1_000_000 / bits_per_ns / end)


def _memory(memory: str | Config, overrides: Mapping[str, Any]) -> DramConfig:
    if isinstance(memory, Config):
        dram = memory.dram
    else:
        dram = load_config("gscn", {"dram.preset": memory, **overrides}).dram
    if dram.kind == "ideal":
        raise PatternError("ideal has no peak: name a memory with a limit")
    if dram.scheduler != "fr-fcfs":
        raise PatternError(
            f"dram.scheduler must be fr-fcfs: requests to {dram.scheduler} have no addresses"
        )
    return dram


def _requests(
    dram: DramConfig, pattern: str, request_bytes: int, read_fraction: float, count: int
) -> tuple[Ints, np.ndarray]:
    """First burst of each request, and whether it writes."""
    order = np.arange(count)
    whole = dram.channels * _CHANNEL_BYTES
    reads = Fraction(read_fraction).limit_denominator(64)
    write = order % reads.denominator >= reads.numerator
    streams = re.fullmatch(r"([1-9]\d{0,5}) streams in turn", pattern)
    stride = re.fullmatch(r"stride ([1-9]\d{0,11})", pattern)
    if pattern == "sequential":
        address = order * request_bytes
    elif pattern == "random":
        places = max(1, whole // request_bytes)
        address = np.random.default_rng(0).integers(0, places, count) * request_bytes
    elif pattern == "read and write stream in turn":
        address = order % 2 * (whole // 2) + order // 2 * request_bytes
        write = order % 2 == 1
    elif streams:
        number = int(streams[1])
        place = dram.row_bytes * dram.banks * dram.channels
        apart = max(1, whole // number // place) * place
        address = order % number * apart + order // number * request_bytes
    elif stride:
        address = order * int(stride[1])
    else:
        raise PatternError(f"pattern must be {_PATTERNS}; got {pattern!r}")
    return address % whole // dram.burst_bytes, write
