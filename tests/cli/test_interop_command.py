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


def test_a_bad_line_is_one_line_on_stderr_and_writes_nothing(invoke, tmp_path):
    source, made = tmp_path / "net.csv", tmp_path / "net.npz"
    source.write_text(TABLE + "a,1,1,1,1,1,many,\n")
    result = invoke("trace", "import", source, "--from", "table", "-o", made)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "net.csv, line 4, column S: must be a whole number, got 'many'" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not made.exists()
