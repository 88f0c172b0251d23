"""Compiled code is never older than the sources it came from."""

from pathlib import Path

from gscn_sim.kernels import cache_folder


def test_any_change_of_any_source_moves_the_cache(tmp_path: Path) -> None:
    (tmp_path / "banks.py").write_text("a = 1\n")
    (tmp_path / "pairing.py").write_text("b = 1\n")
    first = cache_folder(tmp_path)
    assert cache_folder(tmp_path) == first
    (tmp_path / "banks.py").write_text("a = 2\n")
    second = cache_folder(tmp_path)
    (tmp_path / "banks.py").rename(tmp_path / "hashes.py")
    assert len({first, second, cache_folder(tmp_path)}) == 3
    assert first.parent == tmp_path / "__pycache__"
