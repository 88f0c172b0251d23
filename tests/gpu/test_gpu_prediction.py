"""Predictions: inputs checked, roofline by hand, bands, warnings, speed."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gscn_sim.gpu import GpuError, find_device, layers_frame, predict
from gscn_sim.gpu.device import device_keys, load_device
from workloads.networks import conv_layers
from workloads.shape import LayerShape

PASSES = ("forward", "dgrad", "wgrad")
LAYER = LayerShape(C=64, H=56, W=56, K=64, R=3, S=3, padding=(1, 1))


def one(**changes: float) -> pd.DataFrame:
    return layers_frame([LAYER], 16).assign(**changes)


def test_roofline_by_hand() -> None:
    """3x3 layer: 3.699 GFLOP at 2 * 3584 * 1.582 GHz, plus one launch of 3 us."""
    row = predict(one(), "gtx-1080ti", "roofline").iloc[0]
    compute_ms = 2 * 16 * 64 * 64 * 9 * 56 * 56 / (2 * 3584 * 1.582e9) * 1e3
    assert row["forward_ms"] == row["dgrad_ms"] == row["wgrad_ms"]
    assert row["dgrad_ms"] == pytest.approx(compute_ms + 0.003)
    assert row["dgrad_bound"] == "compute"


def test_roofline_is_memory_bound_on_few_operations_a_byte() -> None:
    row = predict(one(C=1, K=1), "gtx-1080ti", "roofline").iloc[0]
    size_bytes = 4 * (2 * 16 * 56 * 56 + 9)
    assert row["dgrad_ms"] == pytest.approx(size_bytes / 484e9 * 1e3 + 0.003)
    assert row["dgrad_bound"] == "launch"
    big = predict(one(C=1, K=1, N=4096), "gtx-1080ti", "roofline").iloc[0]
    assert big["dgrad_bound"] == "memory"


@pytest.mark.parametrize("device", device_keys())
def test_every_device_has_times_algorithms_and_bands(device: str) -> None:
    row = predict(one(), device).iloc[0]
    for name in PASSES:
        assert row[f"{name}_low_ms"] < row[f"{name}_ms"] * 1.05
        assert row[f"{name}_low_ms"] < row[f"{name}_high_ms"]
        assert row[f"{name}_algorithm"]
        assert row[f"{name}_bound"] in ("compute", "memory", "launch")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"H": 0}, "row 1: H must be a whole number from 1 to .*, got 0"),
        ({"N": np.nan}, "row 1: N must be a whole number .*, got nan"),
        ({"K": 1.5}, "row 1: K must be a whole number .*, got 1.5"),
        ({"C": np.inf}, "row 1: C must be a whole number .*, got inf"),
        ({"stride_w": -1}, "row 1: stride_w must be a whole number from 1"),
        ({"pad_h": -1}, "row 1: pad_h must be a whole number from 0"),
        ({"R": 60}, r"row 1: R must be small enough for an output .* got 60"),
        ({"groups": 3}, r"row 1: groups must be a divisor of C \(64\), got 3"),
        ({"H": "many"}, "row 1: H must be a whole number .*, got many"),
    ],
)
def test_bad_values_name_row_and_column(changes: dict[str, float], message: str) -> None:
    with pytest.raises(GpuError, match=message):
        predict(one(**changes))


def test_a_dilated_filter_may_need_more_padding_than_the_input_is_wide() -> None:
    """Such layers are legal in a trace: atrous convolutions on small maps."""
    row = predict(one(H=7, W=7, pad_h=12, pad_w=12, dilation_h=12, dilation_w=12)).iloc[0]
    assert all(row[f"{name}_ms"] > 0 for name in ("forward", "dgrad", "wgrad"))


def test_the_row_named_is_the_bad_one() -> None:
    table = pd.concat([one(), one(), one(W=0)])
    with pytest.raises(GpuError, match="row 3: W "):
        predict(table)


def test_missing_columns_unknown_device_and_model() -> None:
    with pytest.raises(GpuError, match="lacks column K, pad_h; it needs N, C"):
        predict(one().drop(columns=["K", "pad_h"]))
    with pytest.raises(GpuError, match=r"must be one of gtx-1080ti, h100, p100, .*, got 'gtx'"):
        predict(one(), "gtx")
    with pytest.raises(GpuError, match="must be one of analytical, roofline, got 'exact'"):
        predict(one(), model="exact")


def test_optional_columns_default_to_one() -> None:
    bare = one().drop(columns=["dilation_h", "dilation_w", "groups"])
    assert predict(bare)["dgrad_ms"].iloc[0] == predict(one())["dgrad_ms"].iloc[0]


def test_an_empty_table_gives_an_empty_table() -> None:
    assert len(predict(one()[:0])) == 0


def test_measured_shapes_do_not_warn_and_far_ones_do() -> None:
    assert predict(one())["gpu_note"].iloc[0] == ""
    assert "N 512 is far from 4 to 32" in predict(one(N=512))["gpu_note"].iloc[0]
    assert (
        "strided 3x3 was not measured" in predict(one(stride_h=2, stride_w=2))["gpu_note"].iloc[0]
    )
    assert "groups was not measured" in predict(one(groups=2))["gpu_note"].iloc[0]


@pytest.mark.parametrize("device", ["gtx-1080ti", "h100", "h100:tf32", "h100:bf16"])
def test_a_thousand_layers_take_less_than_a_tenth_of_a_second(device: str) -> None:
    shapes = [s for name in ("resnet34", "resnet101", "vgg16") for _, s in conv_layers(name)]
    table = layers_frame((shapes * 10)[:1000], 16)
    predict(table, device)
    best = min(_seconds(table, device) for _ in range(5))
    assert len(table) == 1000
    assert best < 0.1


def _seconds(table: pd.DataFrame, device: str) -> float:
    """Processor time: wall time says more about what else runs on the machine."""
    start = time.process_time()
    predict(table, device)
    return time.process_time() - start


def test_winograd_only_where_it_exists() -> None:
    row = predict(one()).iloc[0]
    assert row["dgrad_algorithm"].startswith("winograd")
    for changes in ({"stride_h": 2, "stride_w": 2}, {"dilation_h": 2, "dilation_w": 2}):
        row = predict(one(**changes)).iloc[0]
        assert not any(str(row[f"{p}_algorithm"]).startswith(("winograd", "fft")) for p in PASSES)
    old = predict(one(C=512, K=512, H=28, W=28), "titan-x-pascal").iloc[0]
    assert not old["wgrad_algorithm"].startswith("winograd"), "not measured with cuDNN 5"


def test_strided_dgrad_pays_for_zeros() -> None:
    strided = one(R=1, S=1, pad_h=0, pad_w=0, stride_h=2, stride_w=2, C=256, K=512)
    row = predict(strided).iloc[0]
    assert row["dgrad_algorithm"] == "zero_inserted_gemm"
    assert row["dgrad_ms"] > 1.5 * row["forward_ms"]


def test_strided_dgrad_inserts_no_zeros_with_cudnn_7() -> None:
    strided = one(R=5, S=5, pad_h=2, pad_w=2, stride_h=2, stride_w=2, C=256, K=512)
    old, new = (predict(strided, device).iloc[0] for device in ("p100", "v100"))
    assert new["dgrad_algorithm"] == "phased_gemm"
    assert old["dgrad_algorithm"] in ("zero_inserted_gemm", "scatter_gemm")
    assert new["dgrad_ms"] < 1.5 * new["forward_ms"]


@pytest.mark.parametrize("device", device_keys())
def test_batches_of_1_to_256_take_ever_longer_but_not_more_a_sample(device: str) -> None:
    """A CIFAR layer and an ImageNet one, far below and above the measured batches."""
    small = LayerShape(C=16, H=32, W=32, K=16, R=3, S=3, padding=(1, 1))
    batches = [2**power for power in range(9)]
    for shape in (small, LAYER):
        table = predict(pd.concat([layers_frame([shape], n) for n in batches]), device)
        for name in PASSES:
            times = table[f"{name}_ms"].to_numpy()
            assert (np.diff(times) >= -1e-9).all()
            assert (times[1:] <= 2.2 * times[:-1]).all()


def test_a_roofline_serves_a_device_of_ones_own(tmp_path: object) -> None:
    from pathlib import Path

    source = Path(str(tmp_path)) / "mine.toml"
    shipped = Path(__file__).parents[2] / "gscn_sim/gpu/data/p100.toml"
    source.write_text(shipped.read_text().replace("sms = 56", "sms = 28"))
    mine = find_device(str(source))
    ours, theirs = predict(one(), mine, "roofline"), predict(one(), "p100", "roofline")
    assert ours["dgrad_ms"].iloc[0] == pytest.approx(2 * theirs["dgrad_ms"].iloc[0] - 0.003)
    assert np.isnan(ours["dgrad_low_ms"].iloc[0])
    with pytest.raises(GpuError, match="device mine has no fitted coefficients"):
        predict(one(), mine)
    source.write_text('title = "no more"')
    with pytest.raises(GpuError, match="a device has the keys title"):
        find_device(str(source))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 64),
    c=st.integers(1, 300),
    k=st.integers(1, 300),
    size=st.integers(1, 60),
    filter_size=st.integers(1, 7),
    stride=st.integers(1, 3),
    device=st.sampled_from(device_keys()),
)
def test_never_faster_than_the_fewest_multiplications_and_launches_allow(
    n: int, c: int, k: int, size: int, filter_size: int, stride: int, device: str
) -> None:
    """Bounds: one launch; and the peak at 1.45 times nominal with the largest saving offered."""
    pad = min(filter_size // 2, size)
    if size + 2 * pad < filter_size:
        return
    shape = LayerShape(
        C=c, H=size, W=size, K=k, R=filter_size, S=filter_size, stride=(stride, stride),
        padding=(pad, pad),
    )  # fmt: skip
    row = predict(layers_frame([shape], n), device).iloc[0]
    gpu = load_device(device)
    flops = 2 * n * shape.dense_macs
    fewest = flops / (25 if filter_size > 1 else 1)
    for name in PASSES:
        assert np.isfinite(row[f"{name}_ms"])
        assert row[f"{name}_ms"] > gpu.launch_overhead_us / 1e3
        assert row[f"{name}_ms"] > fewest / (1.45 * gpu.peak_flops_per_ms)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 32), c=st.integers(1, 128), k=st.integers(1, 128))
def test_twice_the_batch_is_never_faster(n: int, c: int, k: int) -> None:
    table = pd.concat([one(N=n, C=c, K=k), one(N=2 * n, C=c, K=k)])
    times = predict(table)
    for name in PASSES:
        first, second = times[f"{name}_ms"]
        assert second >= first * (1 - 1e-9)


def test_depthwise_layers_are_no_fantasies() -> None:
    """MobileNet at 112x112: by the same rule on every card, and said to be extrapolated."""
    layer = LayerShape(C=32, H=112, W=112, K=32, R=3, S=3, padding=(1, 1), groups=32)
    row = predict(layers_frame([layer], 16)).iloc[0]
    bytes_ms = 4 * 2 * 16 * 32 * 112 * 112 / 484e9 * 1e3
    for name in PASSES:
        assert row[f"{name}_algorithm"] == "depthwise"
        assert bytes_ms < row[f"{name}_ms"] < 8 * bytes_ms
    assert "depthwise was not measured" in row["gpu_note"]
    assert predict(layers_frame([layer], 16), "h100")["gpu_note"].iloc[0] == ""


def test_precision_is_part_of_the_name_or_an_argument() -> None:
    both = [predict(one(), "h100:bf16"), predict(one(), "h100", precision="bf16")]
    assert both[0].equals(both[1])
    assert predict(one(), "h100")["dgrad_ms"].iloc[0] > 3 * both[0]["dgrad_ms"].iloc[0]
    assert predict(one(), "h100").equals(predict(one(), "h100", precision="fp32"))


@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [
        ("h100:fp8", None, "precision of GPU device h100 must be one of fp32, tf32, bf16, got"),
        ("h100", "fp16", "precision of GPU device h100 must be one of fp32, tf32, bf16, got"),
        ("gtx-1080ti:bf16", None, "precision of GPU device gtx-1080ti must be one of fp32, got"),
        ("h100:bf16", "tf32", "names another precision than 'tf32'"),
        ("h100:", None, "precision of GPU device h100 must be one of"),
    ],
)
def test_unknown_precisions_are_refused(device: str, precision: str | None, message: str) -> None:
    with pytest.raises(GpuError, match=message):
        predict(one(), device, precision=precision)


def test_short_names_of_dilation() -> None:
    dilated = one(dilation_h=2, dilation_w=2)
    short = dilated.rename(columns={"dilation_h": "dil_h", "dilation_w": "dil_w"})
    assert predict(short)["dgrad_ms"].iloc[0] == predict(dilated)["dgrad_ms"].iloc[0]
    with pytest.raises(GpuError, match="both dil_h and dilation_h"):
        predict(dilated.assign(dil_h=1))
