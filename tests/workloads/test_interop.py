"""Layers from and to the files of other tools."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads import GscnError, LayerShape
from workloads.interop.layer_table import read_layer_table
from workloads.interop.scalesim import read_topology, topology_text

HEADER = (
    "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, "
    "Channels, Num Filter, Strides,\n"
)


def written(folder: Path, text: str) -> Path:
    path = folder / "layers.csv"
    path.write_text(text)
    return path


def shapes(path: Path) -> list[tuple[str, LayerShape]]:
    return [(layer.name, layer.shape) for layer in read_topology(path)]


def test_a_topology_by_hand(tmp_path: Path) -> None:
    path = written(
        tmp_path, HEADER + "Conv1, 230, 232, 7, 5, 3, 64, 2,\n\nDP1, 9, 9, 3, 3, 8, 2, 1,\n"
    )
    assert shapes(path) == [
        # (230 - 7) / 2 and (232 - 5) / 2 are no whole numbers: a column of windows sticks out.
        ("Conv1", LayerShape(C=3, H=231, W=233, K=64, R=7, S=5, stride=(2, 2))),
        ("DP1", LayerShape(C=8, H=9, W=9, K=16, R=3, S=3, groups=8)),
    ]


def test_a_stride_for_each_direction(tmp_path: Path) -> None:
    """64x128, 5x5, strides 1 and 2: 60x63 outputs, as SCALE-Sim's own ceil() has it."""
    header = HEADER.replace("Strides", "Stride height, Stride width")
    ((_, shape),) = shapes(written(tmp_path, header + "a, 64, 128, 5, 5, 3, 8, 1, 2,\n"))
    assert (shape.P, shape.Q) == (60, 63)
    assert shape == LayerShape(C=3, H=64, W=129, K=8, R=5, S=5, stride=(1, 2))


@pytest.mark.parametrize(
    "header",
    [
        "Layer,M,N,K,\n",
        "Layer name, M, N, K, Sparsity\n",
        "layer;k;n;m;sparsity ratio\n",
        "name\tN\tM\tK\tN:M\n",
    ],
)
def test_products_as_fully_connected_layers(tmp_path: Path, header: str) -> None:
    values = {"m": "64", "n": "10", "k": "512"}
    separator = next(s for s in ",;\t" if s in header)
    columns = [word.strip().casefold() for word in header.split(separator)]
    cells = ["fc", *(values.get(column, "") for column in columns[1:4]), "2:4"]
    (layer,) = read_topology(written(tmp_path, header + separator.join(cells) + "\n"))
    assert layer.shape == LayerShape(C=512, H=64, W=1, K=10, R=1, S=1)
    assert layer.shape.dense_macs == 64 * 10 * 512
    assert layer.densities == {"weight": 0.5}


def test_repeated_names_are_different_layers(tmp_path: Path) -> None:
    lines = "Conv, 8, 8, 3, 3, 4, 4, 1,\nConv, 9, 9, 3, 3, 4, 4, 1,\nConv_2, 7, 7, 1, 1, 4, 4, 1,\n"
    assert [name for name, _ in shapes(written(tmp_path, HEADER + lines))] == [
        *("Conv", "Conv_3", "Conv_2"),
    ]


@pytest.mark.parametrize(
    "header",
    [
        "LAYER NAME,IFMAP height,IFMAP width,Filter height,Filter width,Channels,Num filter,Stride",
        "layer;ifmap_h;ifmap_w;filter_h;filter_w;channels;num_filters;strides",
        "Channels,Layer,Strides,IFMAP Height,IFMAP Width,Filter Height,Filter Width,Num Filter",
    ],
)
def test_a_topology_says_itself_what_its_cells_are(tmp_path: Path, header: str) -> None:
    cells = {"layer": "a", "ifmap h": 9, "ifmap w": 11, "filter h": 3, "filter w": 5}
    cells |= {"channels": 2, "num filter": 4, "stride": 2}

    def cell(name: str) -> str:
        word = name.casefold().replace("_", " ").replace("height", "h").replace("width", "w")
        return next(str(value) for key, value in cells.items() if key.rstrip("s") in word)

    separator = ";" if ";" in header else ","
    line = separator.join(map(cell, header.split(separator)))
    ((name, shape),) = shapes(written(tmp_path, f"{header}\n{line}\n"))
    assert (name, shape) == ("a", LayerShape(C=2, H=9, W=11, K=4, R=3, S=5, stride=(2, 2)))


def test_version_3_files_with_sparsity(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + "fc, 1, 1, 1, 1, 512, 10, 1, 2:4,\n")
    (layer,) = read_topology(path)
    assert (layer.name, layer.shape) == ("fc", LayerShape(C=512, H=1, W=1, K=10, R=1, S=1))
    assert layer.densities == {"weight": 0.5}


@settings(max_examples=50, deadline=None)
@given(
    c=st.integers(1, 9),
    k=st.integers(1, 9),
    size=st.integers(3, 20),
    stride=st.integers(1, 3),
    padding=st.integers(0, 3),
    depthwise=st.booleans(),
)
def test_a_topology_keeps_outputs_and_work(
    tmp_path_factory: pytest.TempPathFactory,
    c: int,
    k: int,
    size: int,
    stride: int,
    padding: int,
    depthwise: bool,
) -> None:
    groups = c if depthwise else 1
    shape = LayerShape(
        C=c,
        H=size,
        W=size + 1,
        K=k * groups,
        R=3,
        S=2,
        stride=(stride, stride),
        padding=(padding, padding),
        groups=groups,
    )
    path = written(tmp_path_factory.mktemp("topology"), topology_text([("a", shape)]))
    ((name, again),) = shapes(path)
    assert name == ("a_DP" if groups > 1 else "a")
    # What SCALE-Sim's topology_utils.py makes of the line's sizes and stride.
    height, width, r, s, *_, step, _ = path.read_text().splitlines()[1].split(",")[1:]
    outputs = [
        math.ceil((int(size) - int(window) + int(step)) / int(step))
        for size, window in ((height, r), (width, s))
    ]
    assert outputs == [shape.P, shape.Q]
    assert again.gradient_shape == shape.gradient_shape
    assert again.dense_macs == shape.dense_macs


def test_what_a_topology_cannot_hold() -> None:
    shape = {"C": 4, "H": 9, "W": 9, "K": 4, "R": 3, "S": 3}
    for extra, rule in (
        ({"stride": (1, 2)}, "the same stride"),
        ({"dilation": (2, 2)}, "dilation 1"),
        ({"groups": 2}, "groups 1 or one a channel"),
    ):
        with pytest.raises(GscnError, match=f"layer 'a': SCALE-Sim needs {rule}"):
            topology_text([("a", LayerShape(**shape, **extra))])
    with pytest.raises(GscnError, match="name without a comma"):
        topology_text([("a,b", LayerShape(**shape))])
    with pytest.raises(GscnError, match="only when depthwise"):
        topology_text([("DP", LayerShape(**shape))])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must hold a line of column names"),
        (HEADER, "line 1: must have at least one line below"),
        (
            "a, 5, 5, 1, 1, 1, 1, 1,\n" * 2,
            "line 1: the first line must name the columns, got the number '5'",
        ),
        (
            HEADER.replace("Num Filter", "Filters") + "a, 5, 5, 1, 1, 1, 1, 1,",
            "must have column Num Filter",
        ),
        (HEADER + "a, 5, x, 1, 1, 1, 1, 1,", "line 2, column IFMAP Width: must be a whole number"),
        (HEADER + "a, 5, 5, 1, 1, 1, 1", "line 2, column Strides: must be a whole number, got ''"),
        (HEADER + ", 5, 5, 1, 1, 1, 1, 1,", "line 2, column Layer name: layer name must be"),
        (HEADER + "a, 5, 5, 1, 1, 1, 1, 1,\nb, 5, 5, 7, 1, 1, 1, 1,", "line 3: output must be"),
        (HEADER + "a, 5, 5, 1, 1, 0, 1, 1,", "line 2: C must be a positive int, got 0"),
        (HEADER + "a, 5, 5, 1, 1, 1, 1, 1, 2,", "column Sparsity: must be N:M with N from 1 to M"),
        (HEADER + "a, 5, 5, 1, 1, 1, 1, 1, 4:2,", "column Sparsity: must be N:M with N from 1"),
        (HEADER + "a, 5, 5, 1, 1, 1, 1, 1, 2:4, 1,", "every cell must stand under a column name"),
        (
            HEADER.replace(",\n", ", Stride width\n") + "a, 5, 5, 1, 1, 1, 1, 1, 2\n",
            "Stride height",
        ),
        (HEADER.replace("Strides", "M") + "a, 5, 5, 1, 1, 1, 1, 1\n", "must have column N, K"),
        ("Layer, M, N,\na, 1, 2,\n", "must have column K"),
        (HEADER.replace("Width", "Height") + "a, 5, 5, 1, 1, 1, 1, 1\n", "only once"),
    ],
)
def test_bad_topologies_name_line_and_column(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(GscnError, match=message) as raised:
        read_topology(written(tmp_path, text))
    assert "layers.csv" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_table_by_hand(tmp_path: Path) -> None:
    text = (
        "layer,C,H,W,K,R,S,pad_h,stride_w,gradient_density\n"
        "a,2,8,8,4,3,3,1,2,0.25\nb,4,8,3,1,1,1,,,\n"
    )
    first, second = read_layer_table(written(tmp_path, text))
    assert first.shape == LayerShape(C=2, H=8, W=8, K=4, R=3, S=3, padding=(1, 0), stride=(1, 2))
    assert first.densities == {"gradient": 0.25}
    assert second.shape == LayerShape(C=4, H=8, W=3, K=1, R=1, S=1)
    assert second.densities == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer,C,H,W,K,R\n", "line 1: must have column S"),
        ("layer,C,H,W,K,R,S,colour\n", "line 1: columns may be .*, got 'colour'"),
        ("layer,C,H,W,K,R,S\n", "must have at least one line"),
        (
            "layer,C,H,W,K,R,S\na,1,1,-1,1,1,1\n",
            "line 2, column W: must be a whole number, got '-1'",
        ),
        (
            "layer,C,H,W,K,R,S,weight_density\na,1,1,1,1,1,1,nan\n",
            "line 2, column weight_density: must be from 0 to 1, got 'nan'",
        ),
    ],
)
def test_bad_tables_name_line_and_column(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(GscnError, match=message):
        read_layer_table(written(tmp_path, text))


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"\xff\x00\xfe")
    for read in (read_topology, read_layer_table):
        with pytest.raises(GscnError, match="cannot be read as a table"):
            read(path)
        with pytest.raises(GscnError, match="cannot be read as a table"):
            read(tmp_path / "none.csv")
