"""The measured times that ship with the package (sources: ``data/README.md``)."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from gscn_sim.gpu.device import Device
from gscn_sim.gpu.layers import with_full_names

if TYPE_CHECKING:
    import pandas as pd

_DATA = resources.files("gscn_sim.gpu") / "data"
SHAPE = (
    *("C", "H", "W", "K", "R", "S", "pad_h", "pad_w", "stride_h", "stride_w"),
    *("dilation_h", "dilation_w", "groups"),
)
TRUNCATION_MS = 0.001
"""Layer times of DeepBench were cut to whole microseconds: half of one is added back."""
_TIMES = {"t_fwd_ms": "forward_ms", "t_dgrad_ms": "dgrad_ms", "t_wgrad_ms": "wgrad_ms"}


def measured_layers(device: Device) -> pd.DataFrame:
    """Shapes and measured ``forward_ms``, ``dgrad_ms``, ``wgrad_ms`` (NaN: not measured)."""
    older = _read("conv_layers_fp32.csv")
    older = older[(older["gpu"] == device.measured_as) & (device.precision == "fp32")]
    if len(older):
        older = older.assign(dilation_h=1, dilation_w=1, groups=1)
        return _times(older, TRUNCATION_MS / 2)
    table = _read("h100_conv_layers.csv")
    return measured_rows(table[table["gpu"] == device.measured_as], device.precision)


def measured_rows(table: pd.DataFrame, precision: str) -> pd.DataFrame:
    """The same from a table such as ``resprop-train measure-gpu`` writes, for one precision."""
    return _times(with_full_names(table[table["mode"] == precision]), 0.0)


def measured_kernels(device: Device) -> pd.DataFrame:
    """Shapes, ``phase``, ``measured_ms`` and ``kernels`` where the kernels' names are known."""
    import pandas as pd

    table = _read("h100_conv_layers.csv")
    table = table[(table["gpu"] == device.measured_as) & (table["mode"] == device.precision)]
    times = measured_rows(table, device.precision)
    parts = []
    for short, phase in (("fwd", "forward"), ("dgrad", "dgrad"), ("wgrad", "wgrad")):
        part = times[["N", *SHAPE]].assign(phase=phase, measured_ms=times[f"{phase}_ms"])
        parts.append(part.assign(kernels=table[f"k_{short}"].to_numpy()))
    return pd.concat(parts, ignore_index=True).dropna(subset=["kernels"]).reset_index(drop=True)


def _times(rows: pd.DataFrame, added_ms: float) -> pd.DataFrame:
    result = rows[["N", *SHAPE]].reset_index(drop=True)
    for source, name in _TIMES.items():
        result[name] = rows[source].to_numpy(dtype=float) + added_ms
    return result


def _read(name: str) -> pd.DataFrame:
    import pandas as pd

    with (_DATA / name).open(encoding="utf-8") as stream:
        return pd.read_csv(stream)


def measured_networks(device: Device) -> pd.DataFrame:
    """Columns network, batch_size, forward_ms, backward_ms, source of the newest cuDNN measured."""
    import pandas as pd

    table = _read("networks_fp32.csv")
    rows = (
        table[table["gpu"] == device.measured_network_as]
        if device.measured_network_as
        else (table[:0])
    )
    rows = rows.sort_values("cudnn", kind="stable").drop_duplicates(["network", "N"], keep="last")
    return pd.DataFrame(
        {
            "network": rows["network"].str.replace("-", ""),
            "batch_size": rows["N"],
            "forward_ms": rows["t_fwd_ms"],
            "backward_ms": rows["t_bwd_ms"],
            "source": rows["source"],
        }
    ).reset_index(drop=True)


def measured_operators(device: Device) -> pd.DataFrame:
    """Kernel times of steps by operator: network, batch_size, operator, calls, device_ms."""
    table = _of(_read("h100_step_ops.csv"), device).rename(columns={"N": "batch_size"})
    return table[["network", "batch_size", "operator", "calls", "device_ms"]].reset_index(drop=True)


def measured_steps(device: Device) -> pd.DataFrame:
    """Whole steps of known networks: times by events, energy, and which file has them.

    Columns network, batch_size, forward_ms, backward_ms, step_ms, energy_j, source (``steps``,
    ``networks``).
    """
    import pandas as pd

    from workloads.networks import network_names

    parts = []
    for source, names in _STEP_COLUMNS.items():
        table = _of(_read(f"h100_{source}.csv"), device)
        part = table.rename(columns={old: new for new, old in names.items()})
        part["energy_j"] = part["energy_mj"] / 1e3
        parts.append(part.assign(source=source))
    result = pd.concat(parts, ignore_index=True)
    columns = ["network", "batch_size", "forward_ms", "backward_ms", "step_ms", "energy_j"]
    known = result["network"].isin(network_names())
    return result.loc[known, [*columns, "source"]].reset_index(drop=True)


def measured_sparse(device: Device) -> pd.DataFrame:
    """The card's own sparse products: shapes, ``layer``, ``density`` and times of each part."""
    table = _read("h100_sparse_products.csv")
    table = table[(table["gpu"] == device.measured_as) & (device.precision == "fp32")]
    named = {f"t_{part}_ms": f"{part}_ms" for part in _SPARSE_PARTS}
    table = table.rename(columns=named).assign(S=table["R"], stride_h=1, stride_w=1)
    return table.assign(pad_h=table["R"] // 2, pad_w=table["R"] // 2).reset_index(drop=True)


_SPARSE_PARTS = (
    *("dense_dgrad", "dense_wgrad", "to_csr", "spmm_dgrad", "fold", "unfold", "spmm_wgrad"),
)
_STEP_COLUMNS = {
    "steps": {
        "batch_size": "N",
        "forward_ms": "fwd_ms",
        "backward_ms": "bwd_ms",
        "step_ms": "step_wall_ms",
        "energy_mj": "step_energy_mj",
    },
    "networks": {
        "batch_size": "N",
        "forward_ms": "t_fwd_ms",
        "backward_ms": "t_bwd_ms",
        "step_ms": "t_step_ms",
        "energy_mj": "energy_step_mj",
    },
}


def _of(table: pd.DataFrame, device: Device) -> pd.DataFrame:
    return table[(table["gpu"] == device.measured_as) & (table["mode"] == device.precision)]
