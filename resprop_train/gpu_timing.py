"""Times and energy of work on a CUDA device, as little disturbed as can be.

Kernels are captured in a CUDA graph and replayed, so that no gap between launches is counted;
operands rotate among copies that together exceed L2, so that none is warm; energy is the card's own
counter.
"""

from __future__ import annotations

import contextlib
import ctypes
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

LEAST_BLOCK_MS = 6.0
BLOCKS = 3
MOST_SETS = 16
LEAST_ENERGY_S = 2.0


def copies(tensors: Sequence[Tensor], l2_bytes: int) -> list[list[Tensor]]:
    """Sets of operands, together at least twice as large as L2."""
    size = sum(t.numel() * t.element_size() for t in tensors)
    count = min(MOST_SETS, max(1, -(-2 * l2_bytes // max(size, 1))))
    return [list(tensors), *([t.clone() for t in tensors] for _ in range(count - 1))]


def graph_ms(calls: Sequence[Callable[[], object]]) -> float:
    """Milliseconds of one call: the median of three blocks of replays, each of at least 6 ms."""
    graph = captured(lambda: [call() for call in calls])
    once_ms = _replays_ms(graph, 1)
    replays = max(1, round(LEAST_BLOCK_MS / max(once_ms, 1e-4)))
    blocks = [_replays_ms(graph, replays) / replays for _ in range(BLOCKS)]
    return statistics.median(blocks) / len(calls)


def captured(work: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """A graph of what ``work`` launches, after a warm-up that lets cuDNN choose."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    graph.replay()
    torch.cuda.synchronize()
    return graph


def _replays_ms(graph: torch.cuda.CUDAGraph, count: int) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(count):
        graph.replay()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end))


def replayed_joules(graph: torch.cuda.CUDAGraph, index: int) -> float:
    """Energy of one replay, over at least two seconds of them; NaN without a counter."""
    before = energy_mj(index)
    if before is None:
        return float("nan")
    torch.cuda.synchronize()
    started, count = time.monotonic(), 0
    while time.monotonic() - started < LEAST_ENERGY_S:
        graph.replay()
        torch.cuda.synchronize()
        count += 1
    after = energy_mj(index)
    return float("nan") if after is None else (after - before) / 1e3 / count


def energy_mj(index: int) -> int | None:
    """The card's energy counter in millijoules since its driver started, or None."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL("libnvidia-ml.so.1")
        handle, value = ctypes.c_void_p(), ctypes.c_ulonglong()
        if library.nvmlInit_v2():
            return None
        bus: Any = torch.cuda.get_device_properties(index)
        name = f"{bus.pci_domain_id:08x}:{bus.pci_bus_id:02x}:{bus.pci_device_id:02x}.0"
        found = library.nvmlDeviceGetHandleByPciBusId_v2(name.encode(), ctypes.byref(handle))
        if found or library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(value)):
            return None
        return int(value.value)
    return None


@contextlib.contextmanager
def precision_set(mode: str) -> Iterator[None]:
    """TF32 on or off, cuDNN choosing by measuring; what was set before comes back."""
    before = (
        torch.backends.cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.benchmark,
    )
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = mode == "tf32"
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before[:2]
        torch.backends.cudnn.benchmark = before[2]
