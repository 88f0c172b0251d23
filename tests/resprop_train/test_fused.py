"""The fused kernel against the separate operations, run by Triton's interpreter: no GPU needed."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from torch import nn

from resprop_train import fused
from resprop_train.conversion import convert

CODE = """
import torch
from resprop_train.fused import BLOCK, build_kernel, launch
kernel = build_kernel()
shapes = [(3, 5, 7, 6), (2, 64, 9, 9), (1, BLOCK), (4, 3 * BLOCK + 1), (5, 1)]
for dtype in (torch.float32, torch.float16, torch.bfloat16):
    for shape in shapes:
        # Triton's interpreter cuts numbers to bfloat16 where a GPU rounds them.
        for reuses in (True, False) if dtype != torch.bfloat16 else (False,):
            for limit in (0.0, 0.7, torch.tensor(0.7, dtype=torch.float64), 1e30):
                for order in (torch.contiguous_format, torch.channels_last):
                    if order is torch.channels_last and len(shape) != 4:
                        continue
                    torch.manual_seed(0)
                    gradient = torch.randn(shape).to(dtype).contiguous(memory_format=order)
                    gradient[0, 0] = 0.0
                    gradient[-1, -1] = float("nan")
                    reused = torch.randn(1, *shape[1:]).to(dtype).contiguous(memory_format=order)
                    out = torch.full_like(gradient, 9.0)
                    count = launch(kernel, gradient, reused if reuses else None, limit, out)
                    difference = gradient - reused if reuses else gradient.clone()
                    limit32 = float(torch.as_tensor(limit).float())
                    dropped = difference.float().abs() <= limit32
                    expected = difference.masked_fill(dropped, 0)
                    assert torch.equal(expected.nan_to_num(99.0), out.nan_to_num(99.0))
                    assert int(count) == int((~dropped).sum())
print("equal")
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="the kernel needs Triton")
def test_the_kernel_does_what_separate_operations_do() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "equal\n", done.stderr


def test_without_a_gpu_or_for_other_types_nothing_is_fused() -> None:
    x = torch.zeros(2, 3)
    assert fused.fused_delta(x, None, 0.0, torch.empty_like(x)) is None


def test_a_kernel_that_fails_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """One warning, and training as before."""

    class Cuda(torch.Tensor):
        @property
        def device(self) -> torch.device:  # type: ignore[override]
            return torch.device("cuda")

    monkeypatch.setattr(fused, "build_kernel", lambda: "no kernel")
    monkeypatch.setattr(fused, "_broken", [])
    fused._kernel.cache_clear()
    x = torch.zeros(2, 3).as_subclass(Cuda)
    with pytest.warns(UserWarning, match="no fused kernel, which costs time"):
        assert fused.fused_delta(x, None, 0.0, x) is None
    assert fused.fused_delta(x, None, 0.0, x) is None
    fused._kernel.cache_clear()


def test_a_fused_layer_is_the_same_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the kernel's place taken by separate operations on the CPU."""

    def separate(gradient, reused, threshold, out):  # type: ignore[no-untyped-def]
        out.copy_(gradient if reused is None else gradient - reused)
        out.masked_fill_(out.abs() <= threshold, 0)
        return int((out != 0).sum())

    results = []
    for fuse in (False, True):
        if fuse:
            monkeypatch.setattr("resprop_train.methods.delta.fused_delta", separate)
        for method in ("resprop", "threshold", "batch-sum", "resprop-batch-sum"):
            torch.manual_seed(0)
            layer = convert(nn.Conv2d(3, 8, 3), 0.8, method=method, rule="mean-density")
            for seed in range(4):
                x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
                layer(x).square().sum().backward()
            results.append(layer.weight.grad)
    assert all(map(torch.equal, results[:4], results[4:]))
