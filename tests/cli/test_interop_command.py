import sys

import numpy as np
import pytest

import workloads

TABLE = "layer,C,H,W,K,R,S,gradient_density\na,4,8,8,8,3,3,0.25\nb,8,6,6,8,3,3,\n"


def test_a_table_becomes_a_trace_and_its_shapes_a_topology(invoke, tmp_path):
    source, made, topology = (tmp_path / name for name in ("net.csv", "net.npz", "topology.csv"))
    source.write_text(TABLE)
    result = invoke("trace", "import", source, "--from", "table", "-o", made)
    assert result.exit_code == 0, result.output
    trace = workloads.load(made)
    assert trace.network == "net"
    first, second = trace.layers
    assert abs(first.gradient.density - 0.25) < 0.1
    assert second.gradient.density < 0.2
    assert invoke("trace", "export", made, "--to", "scalesim", "-o", topology).exit_code == 0
    again = tmp_path / "again.npz"
    result = invoke("trace", "import", topology, "--from", "scalesim", "-o", again)
    assert result.exit_code == 0, result.output
    shapes = [layer.shape for layer in workloads.load(again).layers]
    assert shapes == [first.shape, second.shape]


TOPOLOGY = (
    "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, "
    "Stride height, Stride width,\nConv1, 64, 128, 5, 5, 3, 8, 1, 2,\n"
)


@pytest.mark.parametrize(
    ("name", "content", "form", "output"),
    [
        ("net.csv", TABLE, "table", (8, 6, 6)),
        ("net.TXT", TABLE.replace(",", ";"), "table", (8, 6, 6)),
        ("net.tsv", TABLE.replace(",", "\t"), "table", (8, 6, 6)),
        ("net.csv", TOPOLOGY, "scalesim", (8, 60, 63)),
        ("gemm.csv", "Layer, M, N, K,\nfc, 64, 10, 512,\n", "scalesim", (10, 64, 1)),
    ],
)
def test_a_file_says_itself_what_it_is(invoke, tmp_path, name, content, form, output):
    (tmp_path / name).write_text(content)
    result = invoke("trace", "import", tmp_path / name, "-o", tmp_path / "made.npz")
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith(f"read as {form}\n")
    assert workloads.load(tmp_path / "made.npz").layers[0].shape.gradient_shape == output


def test_an_ending_that_says_nothing_is_refused(invoke, tmp_path):
    (tmp_path / "net.data").write_text(TABLE)
    result = invoke("trace", "import", tmp_path / "net.data", "-o", tmp_path / "made.npz")
    assert result.exit_code == 2
    assert "name must end in .onnx, .csv, .tsv, .txt or be a folder's, or --from" in result.stderr


def test_an_output_that_cannot_be_written_is_found_before_the_work(invoke, tmp_path):
    """The message is about the name that was given, and the input is not even looked at."""
    for output in (tmp_path / "none" / "out.npz", tmp_path):
        result = invoke("trace", "import", tmp_path / "no.csv", "-o", output)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"error: {output}: cannot be written: ")
        assert "no.csv" not in result.stderr


def test_a_bad_line_is_one_line_on_stderr_and_writes_nothing(invoke, tmp_path):
    source, made = tmp_path / "net.csv", tmp_path / "net.npz"
    source.write_text(TABLE + "a,1,1,1,1,1,many,\n")
    result = invoke("trace", "import", source, "--from", "table", "-o", made)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "net.csv, line 4, column S: must be a whole number, got 'many'" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not made.exists()


def test_an_onnx_graph_becomes_a_trace_or_one_line(invoke, tmp_path):
    onnx = pytest.importorskip("onnx")
    source, made = tmp_path / "net.onnx", tmp_path / "net.npz"
    info = onnx.helper.make_tensor_value_info
    sizes = {"x": ["n", 3, 8, 8], "w": [4, 3, 3, 3]}
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["x", "w"], ["y"], name="stem")],
        "net",
        [info(name, onnx.TensorProto.FLOAT, size) for name, size in sizes.items()],
        [info("y", onnx.TensorProto.FLOAT, None)],
    )
    onnx.save(onnx.helper.make_model(graph), source)
    result = invoke("trace", "import", source, "--from", "onnx", "-o", made)
    assert result.exit_code == 0, result.output
    (layer,) = workloads.load(made).layers
    assert (layer.name, layer.shape) == ("stem", workloads.LayerShape(C=3, H=8, W=8, K=4, R=3, S=3))
    nodes = [onnx.helper.make_node("Conv", ["y", "w"], ["z"], name="odd", domain="my.own")]
    graph.node.extend(nodes)
    opsets = [onnx.helper.make_opsetid(domain, 18) for domain in ("", "my.own")]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets), source)
    result = invoke("trace", "import", source, "-o", made)
    assert result.exit_code == 2
    assert "node 'odd'" in result.stderr
    result = invoke("trace", "import", source, "--skip-unsupported", "-o", made)
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[0] == "1 nodes are left out, and so is their work:"
    assert "odd: must be Conv, Gemm" in result.stderr
    source.write_bytes(b"no graph")
    result = invoke("trace", "import", source, "--from", "onnx", "-o", made)
    assert result.exit_code == 2
    assert "net.onnx: cannot be read as ONNX" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_folder_of_masks_becomes_a_trace(invoke, tmp_path):
    folder, made = tmp_path / "net", tmp_path / "net.npz"
    folder.mkdir()
    (folder / "layers.csv").write_text("layer,C,H,W,K,R,S\na,2,4,4,3,3,3\n")
    gradient = np.arange(24).reshape(2, 3, 2, 2) % 2
    np.save(folder / "a.gradient.npy", gradient)
    result = invoke("trace", "import", folder, "--from", "npy", "--batch", 4, "-o", made)
    assert result.exit_code == 0, result.output
    trace = workloads.load(made)
    assert (trace.network, trace.batch_size) == ("net", 4)
    assert np.array_equal(trace.layers[0].gradient.dense(), gradient != 0)
    np.save(folder / "a.gradient.npy", gradient[:, :, :, :1])
    result = invoke("trace", "import", folder, "--from", "npy", "-o", tmp_path / "other.npz")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "other.npz").exists()


def test_a_trace_becomes_timeloop_problems(invoke, toy_trace, tmp_path):
    yaml = pytest.importorskip("yaml")
    folder = tmp_path / "problems"
    result = invoke("trace", "export", toy_trace, "--to", "timeloop", "-o", folder)
    assert result.exit_code == 0, result.output
    first = [path.name for path in sorted(folder.iterdir())][:2]
    assert first == ["0000_conv1_forward.yaml", "0000_conv1_wgrad.yaml"]  # dgrad never runs there
    read = yaml.safe_load((folder / first[0]).read_text())["problem"]
    assert (read["version"], read["instance"]["C"], read["instance"]["R"]) == (0.4, 3, 3)
    (tmp_path / "file").write_text("")
    result = invoke("trace", "export", toy_trace, "--to", "timeloop", "-o", tmp_path / "file")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "option", ["--samples", "--gradient-density", "--weight-density", "--seed"]
)
def test_options_that_masks_leave_no_room_for_are_refused(invoke, tmp_path, option):
    made = tmp_path / "net.npz"
    result = invoke("trace", "import", tmp_path, "--from", "npy", option, "1", "-o", made)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].endswith(
        f"{option} has no effect with --from npy: leave it out"
    )
    assert not made.exists()


def test_a_missing_package_is_one_line_that_names_the_extra(
    invoke, toy_trace, tmp_path, monkeypatch
):
    (tmp_path / "net.onnx").write_bytes(b"")
    for package, extra, words in (
        ("onnx", "onnx", ("import", tmp_path / "net.onnx", "--from", "onnx")),
        ("yaml", "timeloop", ("export", toy_trace, "--to", "timeloop")),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        made = tmp_path / "made"
        result = invoke("trace", *words, "-o", made)
        assert result.exit_code == 2
        assert f"pip install 'gscn-sim[{extra}]'" in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert not made.exists()
