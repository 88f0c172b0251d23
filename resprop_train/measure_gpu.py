"""``resprop-train measure-gpu``: times of layers and steps on the card at hand, as a table.

``gscn-sim gpu fit`` makes a device of it. A run that is cut off, or out of time, goes on where it
ended when it is started again with the same file.
"""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resprop_train.errors import TrainError
from workloads.files import atomic_file, read_regular
from workloads.networks import conv_layers
from workloads.sealed_text import CHANGED, is_whole_text, sealed_text
from workloads.shape import LayerShape

MODES = ("fp32", "tf32", "bf16")
NETWORKS = ("resnet34", "vgg16", "resnet50", "resnet18")
BATCHES = (16, 64)
COLUMNS = (
    *("what", "mode", "N", "C", "H", "W", "K", "R", "S", "pad_h", "pad_w", "stride_h", "stride_w"),
    *("dil_h", "dil_w", "groups", "t_fwd_ms", "t_dgrad_ms", "t_wgrad_ms"),
    *("network", "t_bwd_ms", "t_step_ms", "energy_j"),
)
KEY = COLUMNS[: COLUMNS.index("t_fwd_ms")]
UNUSUAL = (
    LayerShape(C=192, H=28, W=28, K=192, R=3, S=3, padding=(1, 1), groups=192),
    LayerShape(C=576, H=14, W=14, K=576, R=3, S=3, padding=(1, 1), stride=(2, 2), groups=576),
    LayerShape(C=96, H=112, W=112, K=96, R=3, S=3, padding=(1, 1), stride=(2, 2), groups=96),
    LayerShape(C=256, H=28, W=28, K=256, R=3, S=3, padding=(1, 1), groups=32),
    LayerShape(C=512, H=28, W=28, K=512, R=3, S=3, padding=(2, 2), dilation=(2, 2)),
    LayerShape(C=64, H=56, W=56, K=64, R=7, S=7, padding=(3, 3)),
    LayerShape(C=64, H=27, W=27, K=192, R=5, S=5, padding=(2, 2)),
    LayerShape(C=3, H=224, W=224, K=64, R=11, S=11, padding=(2, 2), stride=(4, 4)),
    LayerShape(C=16, H=32, W=32, K=16, R=3, S=3, padding=(1, 1)),
    LayerShape(C=32, H=112, W=112, K=16, R=1, S=1),
)
"""Layers that the networks lack: depthwise, grouped, dilated, large filters, few channels."""
TENSOR_FLOPS = {8: {0: (1024, 2048)}, 9: {0: (2048, 4096)}}
"""TF32 and bf16 operations a clock of an SM, by compute capability where it is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One row to measure: a layer at a batch size, or a step of a network."""

    mode: str
    batch_size: int
    layer: LayerShape | None = None
    network: str = ""

    @property
    def row(self) -> dict[str, Any]:
        """The columns that say what is measured."""
        sizes: dict[str, Any] = dict.fromkeys(KEY, "")
        sizes |= {"mode": self.mode, "N": self.batch_size, "what": "step", "network": self.network}
        if self.layer is not None:
            one = self.layer
            sizes |= {"what": "layer", **{name: getattr(one, name) for name in "CHWKRS"}}
            for name, pair in (
                ("pad", one.padding), ("stride", one.stride), ("dil", one.dilation)
            ):  # fmt: skip
                sizes |= {f"{name}_h": pair[0], f"{name}_w": pair[1]}
            sizes["groups"] = one.groups
        return sizes

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it from other rows of a table."""
        return tuple(str(self.row[name]) for name in (*KEY, "network"))


def jobs(modes: tuple[str, ...] = MODES) -> list[Job]:
    """Everything to measure, kinds mixed: a run that is cut short has some of each."""
    shapes = list(UNUSUAL)
    for network in NETWORKS:
        shapes += [shape for _, shape in conv_layers(network)]
    shapes = list(dict.fromkeys(shapes))
    spread = sorted(range(len(shapes)), key=lambda i: (i * 0.6180339887) % 1)
    found = [
        Job(mode=mode, batch_size=size, layer=shapes[i])
        for size in BATCHES
        for i in spread
        for mode in modes
    ]
    steps = [
        Job(mode=mode, batch_size=size, network=name)
        for name in NETWORKS
        for size in BATCHES
        for mode in modes
    ]
    first = len(found) // 2
    return [*found[:first], *steps, *found[first:]]


def measure(
    path: Path,
    *,
    minutes: float,
    modes: tuple[str, ...],
    figures: Callable[[], Mapping[str, Any]],
    time_of: Callable[[Job], Mapping[str, float]],
    clock: Callable[[], float] = time.monotonic,
    say: Callable[[str], None] = lambda text: None,
) -> int:
    """Measure what a table lacks, until the time is over; returns how many rows are missing still.

    ``figures`` gives the card's, ``time_of`` the times of a job (an empty mapping: it does not fit
    the card). The file is written anew after every row.

    Raises:
        TrainError: the file is there and is of another card, or no such table.
    """
    card = dict(figures())
    rows = _read(path, card) if path.exists() else {}
    wanted = [job for job in jobs(modes) if job.key not in rows]
    end = clock() + 60 * minutes
    for done, job in enumerate(wanted):
        if clock() >= end:
            say(f"out of time: {len(wanted) - done} rows are missing; the same command goes on")
            return len(wanted) - done
        times = time_of(job)
        rows[job.key] = {**job.row, **{k: f"{v:.6g}" for k, v in times.items()}}
        say(f"{done + 1} of {len(wanted)}: {' '.join(filter(None, job.key))}")
        _write(path, card, rows)
    _write(path, card, rows)
    return 0


def _write(path: Path, card: Mapping[str, Any], rows: Mapping[Any, Mapping[str, Any]]) -> None:
    text = io.StringIO()
    for name, value in card.items():
        text.write(f"# {name} = {_toml(value)}\n")
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows.values())
    with atomic_file(path) as file:
        file.write(sealed_text(text.getvalue()).encode())


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(v)}" for key, v in value.items()) + "}"
    return json.dumps(value)


def _read(path: Path, card: Mapping[str, Any]) -> dict[tuple[str, ...], dict[str, Any]]:
    try:
        text = read_regular(path).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TrainError(f"{path}: cannot be read: {error}") from error
    if not is_whole_text(text):
        raise TrainError(f"{path}: {CHANGED}")
    lines = text.splitlines()
    titles = [line for line in lines if line.startswith("# title = ")]
    reader = csv.DictReader(line for line in lines if not line.startswith("#"))
    if tuple(reader.fieldnames or ()) != COLUMNS or len(titles) != 1:
        raise TrainError(f"{path}: no table that measure-gpu wrote; name another file")
    if titles[0] != f"# title = {_toml(card['title'])}":
        raise TrainError(
            f"{path}: measured on {titles[0].removeprefix('# title = ')}, not on "
            f"{_toml(card['title'])}; name another file"
        )
    rows = [dict(row) for row in reader]
    return {tuple(row[name] or "" for name in (*KEY, "network")): row for row in rows}


def cuda_index() -> int:
    """The CUDA device to measure.

    Raises:
        TrainError: this machine has none.
    """
    import torch

    if not torch.cuda.is_available():
        raise TrainError("measure-gpu needs a CUDA GPU; this machine has none that PyTorch can use")
    return torch.cuda.current_device()


def card_figures(index: int) -> dict[str, Any]:
    """What the driver says of a card, as keys of a device file."""
    import torch

    p = torch.cuda.get_device_properties(index)
    clock_ghz = getattr(p, "clock_rate", 0) / 1e6 or 1.5
    cores = {(8, 0): 64, (7, 0): 64, (7, 5): 64}.get((p.major, p.minor), 128)
    bus_bits = getattr(p, "memory_bus_width", 0)
    bandwidth = 2 * getattr(p, "memory_clock_rate", 0) / 1e6 * bus_bits / 8
    fp32 = 2 * p.multi_processor_count * cores * clock_ghz / 1e3
    tensor = TENSOR_FLOPS.get(p.major, {}).get(p.minor, (4 * cores, 8 * cores))
    peaks = [p.multi_processor_count * rate * clock_ghz / 1e3 for rate in tensor]
    return {
        "title": p.name,
        "architecture": f"sm_{p.major}{p.minor}",
        "sms": p.multi_processor_count,
        "cores_per_sm": cores,
        "boost_clock_ghz": round(clock_ghz, 4),
        "bandwidth_gb_s": round(bandwidth, 1) or 500.0,
        "l2_bytes": p.L2_cache_size,
        "shared_bytes_per_sm": p.shared_memory_per_multiprocessor,
        "cudnn": max(1, (torch.backends.cudnn.version() or 90000) // 10000),
        "peak_tflops": {
            "fp32": round(fp32, 1),
            "tf32": round(peaks[0], 1),
            "bf16": round(peaks[1], 1),
        },
    }


def cuda_times(job: Job, index: int) -> dict[str, float]:
    """Times of one job on a CUDA device; nothing where its memory does not suffice."""
    import torch

    from resprop_train.gpu_timing import precision_set

    try:
        with precision_set(job.mode):
            return _layer_times(job, index) if job.layer is not None else _step_times(job, index)
    except torch.cuda.OutOfMemoryError:
        return {}
    finally:
        torch.cuda.empty_cache()


def _layer_times(job: Job, index: int) -> dict[str, float]:
    import torch

    from resprop_train.gpu_timing import copies, graph_ms

    one = job.layer
    assert one is not None
    kind = torch.bfloat16 if job.mode == "bf16" else torch.float32
    memory = torch.contiguous_format if job.mode == "fp32" else torch.channels_last
    device = torch.device("cuda", index)
    n = job.batch_size
    shapes = ((n, one.C, one.H, one.W), one.weight_shape, (n, *one.gradient_shape))
    tensors = [
        torch.randn(shape, device=device, dtype=kind).to(memory_format=memory) for shape in shapes
    ]
    sets = copies(tensors, torch.cuda.get_device_properties(index).L2_cache_size)
    plain = (list(one.stride), list(one.padding), list(one.dilation), False, [0, 0], one.groups)

    def forward(x: Any, w: Any, _: Any) -> Callable[[], object]:
        return lambda: torch.ops.aten.convolution(x, w, None, *plain)

    def backward(mask: list[bool]) -> Callable[..., Callable[[], object]]:
        def of(x: Any, w: Any, dy: Any) -> Callable[[], object]:
            return lambda: torch.ops.aten.convolution_backward(dy, x, w, None, *plain, mask)

        return of

    passes = {
        "t_fwd_ms": forward,
        "t_dgrad_ms": backward([True, False, False]),
        "t_wgrad_ms": backward([False, True, False]),
    }
    return {name: graph_ms([make(*one_set) for one_set in sets]) for name, make in passes.items()}


def _step_times(job: Job, index: int) -> dict[str, float]:
    import torch

    from resprop_train.gpu_timing import captured, graph_ms, replayed_joules
    from resprop_train.models import build_model

    device = torch.device("cuda", index)
    model = build_model(job.network, channels=3, size=224, classes=1000).to(device)
    x = torch.randn(job.batch_size, 3, 224, 224, device=device)
    if job.mode != "fp32":
        model, x = (
            model.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
            x.to(memory_format=torch.channels_last),
        )
    labels = torch.randint(1000, (job.batch_size,), device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9, weight_decay=1e-4)

    def forward() -> Any:
        with torch.autocast(
            "cuda", torch.bfloat16, enabled=job.mode == "bf16", cache_enabled=False
        ):
            return torch.nn.functional.cross_entropy(model(x), labels)

    def backward() -> None:
        forward().backward()

    def step() -> None:
        optimizer.zero_grad(set_to_none=False)
        backward()
        optimizer.step()

    step()  # makes the gradients and the momentum that the graphs reuse
    forward_ms = graph_ms([forward])
    both_ms = graph_ms([backward])
    step_ms = graph_ms([step])
    joules = replayed_joules(captured(step), index)
    times = {"t_fwd_ms": forward_ms, "t_bwd_ms": both_ms - forward_ms, "t_step_ms": step_ms}
    return times | ({} if math.isnan(joules) else {"energy_j": joules})
