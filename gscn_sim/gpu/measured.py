"""The measured times that ship with the package (sources: ``data/README.md``)."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from gscn_sim.gpu.device import Device

if TYPE_CHECKING:
    import pandas as pd

_DATA = resources.files("gscn_sim.gpu") / "data"
SHAPE = ("C", "H", "W", "K", "R", "S", "pad_h", "pad_w", "stride_h", "stride_w")
TRUNCATION_MS = 0.001
"""Layer times were cut to whole microseconds: half of one is added back."""
_TIMES = {"t_fwd_ms": "forward_ms", "t_dgrad_ms": "dgrad_ms", "t_wgrad_ms": "wgrad_ms"}


def measured_layers(device: Device) -> pd.DataFrame:
    """Shapes and measured ``forward_ms``, ``dgrad_ms``, ``wgrad_ms`` (NaN: not measured)."""
    import pandas as pd

    with (_DATA / "conv_layers_fp32.csv").open() as stream:
        table = pd.read_csv(stream)
    rows = table[table["gpu"] == device.measured_as] if device.measured_as else table[:0]
    result = rows[["N", *SHAPE]].reset_index(drop=True)
    for source, name in _TIMES.items():
        result[name] = rows[source].to_numpy() + TRUNCATION_MS / 2
    return result


def measured_networks(device: Device) -> pd.DataFrame:
    """Columns network, batch_size, forward_ms, backward_ms, source of the newest cuDNN measured."""
    import pandas as pd

    with (_DATA / "networks_fp32.csv").open() as stream:
        table = pd.read_csv(stream)
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
