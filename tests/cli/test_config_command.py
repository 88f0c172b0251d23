import tomllib

from gscn_sim.config import load_config, preset_names


def test_list_names_every_preset(invoke):
    result = invoke("config", "list")
    assert result.exit_code == 0
    for name in preset_names():
        assert f"\n{name} " in result.stdout
    assert "3,584" in result.stdout


def test_show_is_toml_that_makes_the_same_design(invoke, tmp_path):
    result = invoke("config", "show", "scnn", "--set", "pe.accumulator_entries=1024")
    path = tmp_path / "design.toml"
    path.write_text(result.stdout)
    assert tomllib.loads(result.stdout)["pe"]["accumulator_entries"] == 1024
    wanted = load_config("scnn", {"pe.accumulator_entries": 1024})
    loaded = load_config(path)
    assert loaded.pe == wanted.pe
    assert loaded.dram == wanted.dram


def test_keys_are_explained(invoke):
    result = invoke("config", "show", "--keys")
    assert "pe.bank_queue_depth" in result.stdout
    assert "modulo xor" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_a_wrong_key_is_one_line(invoke):
    result = invoke("config", "show", "--set", "pe.nope=1")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: unknown key 'pe.nope'; keys of pe are ")
    assert len(result.stderr.splitlines()) == 1
