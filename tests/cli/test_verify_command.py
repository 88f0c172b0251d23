import importlib

import pandas as pd
import pytest

ROW = {"layer": "conv1", "phase": "dgrad", "check": "functional", "passed": True, "note": ""}


def test_a_sound_trace_passes(invoke, toy_trace):
    result = invoke("verify", toy_trace, "--set", "array.pe_rows=2", "--set", "array.pe_cols=2")
    assert result.exit_code == 0, result.output
    assert "conv2" in result.stdout
    assert "FAIL" not in result.stdout
    assert result.stdout.splitlines()[-1].endswith(" checks passed, 0 failed")


@pytest.mark.parametrize("quiet", [False, True])
def test_a_failed_check_is_shown_and_ends_with_1(invoke, toy_trace, monkeypatch, quiet):
    checks = pd.DataFrame([ROW, {**ROW, "phase": "wgrad", "passed": False}])
    # ``gscn_sim.run.verify`` is the function; its module must be asked for by name.
    module = importlib.import_module("gscn_sim.run.verify")
    monkeypatch.setattr(module, "verify", lambda *_, **__: checks)
    result = invoke("verify", toy_trace, *(["-q"] if quiet else []))
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "1 checks passed, 1 failed"
    assert ("FAIL" in result.stdout) is not quiet
