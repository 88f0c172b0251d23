"""Time and memory of one ReSprop step of ResNet-34 at 224x224 against the ordinary step.

Run with ``make bench`` or ``python benchmarks/test_resprop_step.py``. Steps of both kinds alternate
in one process; the time ratio is the median over the pairs of their CPU times, memory the peak
resident size that steps of one kind add in a process of their own.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import torch

from resprop_train.conversion import convert
from resprop_train.models import build_model

BATCH = 8
PAIRS, UNCOUNTED_PAIRS = 4, 2  # the first step of ReSprop is an ordinary one
MOST_TIME, MOST_MEMORY = 1.3, 1.5


def step_maker(reuse: bool):  # type: ignore[no-untyped-def]
    """A function that does one training step and returns its CPU seconds."""
    torch.manual_seed(0)
    model = build_model("resnet34", channels=3, size=224, classes=18)
    if reuse:
        convert(model, 0.9)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x, y = torch.randn(BATCH, 3, 224, 224), torch.arange(BATCH)

    def step() -> float:
        started = time.process_time()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return time.process_time() - started

    return step


def peak_memory(reuse: bool) -> float:
    """Peak resident kilobytes that steps add in a process of their own (Linux)."""
    code = (
        f"import re, sys; sys.path.insert(0, {__file__.rpartition('/')[0]!r})\n"
        "import torch, test_resprop_step as t; torch.set_num_threads(1)\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1])\n"
        "base = peak()\n"
        f"step = t.step_maker({reuse}); [step() for _ in range(3)]\n"
        "print(peak() - base)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def measure() -> tuple[float, float]:
    """Ratios of time and of memory, ReSprop over ordinary."""
    torch.set_num_threads(1)
    ordinary, ours = step_maker(False), step_maker(True)
    pairs = [(ordinary(), ours()) for _ in range(UNCOUNTED_PAIRS + PAIRS)][UNCOUNTED_PAIRS:]
    time_ratio = statistics.median(t / plain for plain, t in pairs)
    return time_ratio, peak_memory(True) / peak_memory(False)


def test_step_costs_little_more_than_the_ordinary_one() -> None:
    time_ratio, memory_ratio = measure()
    assert time_ratio <= MOST_TIME
    assert memory_ratio <= MOST_MEMORY


if __name__ == "__main__":
    print("time {:.2f}x, memory {:.2f}x of the ordinary step".format(*measure()))
