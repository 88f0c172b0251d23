"""What is kept on disk comes back as it was or not at all, and cannot execute."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gscn_sim.config import load_config
from gscn_sim.mapping.plan import Block
from gscn_sim.run.disk import FOLDER, Folder, dumps, loads
from gscn_sim.run.memo import Cache
from workloads import GscnError, Phase

DAMAGES = int(os.environ.get("DAMAGES", "200"))

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.sampled_from(Phase),
    st.builds(Block, *(st.integers(0, 9),) * 4),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.one_of(st.text(), st.integers(), st.tuples(st.integers())), inner),
    ),
    max_leaves=12,
)
dtypes = st.sampled_from(["?", "u1", "i8", "<f4", "f8", ">i4", "c16"])


def same(found: object, wanted: object) -> bool:
    """Equal, of the same type, all the way down."""
    if type(found) is not type(wanted):
        return False
    if isinstance(wanted, list | tuple):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    if isinstance(wanted, dict):
        return list(found) == list(wanted) and all(same(found[k], wanted[k]) for k in wanted)
    return found == wanted


@given(values)
def test_values_come_back_as_they_were(value):
    assert same(loads(dumps(value)), value)


@given(arrays.arrays(dtypes, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0)))
def test_arrays_come_back_and_can_be_written_to(array):
    found, again = loads(dumps((array, array.T)))
    np.testing.assert_array_equal(found, array)
    np.testing.assert_array_equal(again, array.T)
    assert found.dtype == array.dtype.newbyteorder("=")
    assert found.flags.writeable


def test_designs_come_back():
    assert loads(dumps(load_config("scnn"))) == load_config("scnn")


@dataclass(frozen=True)
class _Foreign:
    value: int


@pytest.mark.parametrize(
    "value", [_Foreign(1), {1, 2}, object(), b"bytes", np.array([object()]), Path("x")]
)
def test_what_is_not_data_of_this_project_is_not_kept(tmp_path, value):
    with pytest.raises(TypeError):
        dumps(value)
    assert Cache(tmp_path).get_on_disk("key", lambda: value) is value
    assert not list(tmp_path.rglob("*.result"))


@pytest.mark.parametrize(
    "document",
    [
        {"class": "subprocess:Popen", "fields": {"args": ["touch", "here"]}},
        {"class": "os:system", "fields": {}},
        {"tuple": "builtins:tuple", "items": []},
        {"enum": "workloads.layer:Phases", "value": "dgrad"},
        {"class": "gscn_sim.run.simulate:simulate", "fields": {}},
        {"class": "gscn_sim.run.disk:os", "fields": {}},
        {"class": "gscn_sim.run.disk:Path", "fields": {}},
        {"array": "O", "shape": [1]},
        {"array": "i8", "shape": [1 << 60]},
        {"array": "i8", "shape": [-1]},
        {"nothing": 1},
    ],
)
def test_a_document_makes_nothing_but_data_of_this_project(document, monkeypatch, survived):
    monkeypatch.setattr("gscn_sim.run.disk._encoded", lambda value, _: value)
    content = dumps(document)
    with pytest.raises((ValueError, TypeError, AttributeError, ImportError)):
        loads(content)
    survived("hostile", "documents in the result cache", not_believed=1)


def kept(tmp_path: Path, key: str = "key", size: int = 300) -> Path:
    Folder(tmp_path).put(key, (np.arange(size), "text"))
    return next(tmp_path.rglob("*.result"))


def test_no_damage_is_believed(tmp_path, survived):
    """Every kind of damage at random places: nothing is found, and the file is gone."""
    path = kept(tmp_path)
    whole = path.read_bytes()
    random = np.random.default_rng(1)
    for number in range(DAMAGES):
        damaged = bytearray(whole)
        start = int(random.integers(len(whole)))
        match number % 5:
            case 0:
                damaged[start] ^= 1 << int(random.integers(8))
            case 1:
                damaged += random.bytes(1)
            case 2:
                del damaged[start:]
            case 3:
                damaged[start:start] = random.bytes(9)
            case 4:
                damaged[start : start + 16] = bytes(16)
        if bytes(damaged) == whole:
            continue
        path.write_bytes(damaged)
        assert Folder(tmp_path).get("key") is None, number
        assert not path.exists()
    survived("damage", "entry of the result cache", worked_out_again=DAMAGES)


def test_an_entry_under_another_key_is_not_believed(tmp_path):
    path = kept(tmp_path, "one")
    content = path.read_bytes()
    path.unlink()
    other = kept(tmp_path, "two")
    other.write_bytes(content)
    assert Folder(tmp_path).get("two") is None


def test_a_pipe_or_a_folder_in_an_entrys_place_is_no_entry(tmp_path):
    path = kept(tmp_path)
    path.unlink()
    os.mkfifo(path)
    assert Folder(tmp_path).get("key") is None
    path.unlink()
    path.mkdir()
    assert Folder(tmp_path).get("key") is None


class _Planted:
    def __reduce__(self):
        return os.mkdir, ("planted",)


def test_a_planted_pickle_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = kept(tmp_path)
    for content in (pickle.dumps(_Planted()), path.read_bytes()[:50] + pickle.dumps(_Planted())):
        path.write_bytes(content)
        assert Folder(tmp_path).get("key") is None
        assert not (tmp_path / "planted").exists()
        kept(tmp_path)


def test_folders_that_others_may_write_to_are_refused(tmp_path):
    kept(tmp_path)
    folder = tmp_path / FOLDER
    assert folder.stat().st_mode & 0o777 == 0o700
    for mode in (0o770, 0o702):
        folder.chmod(mode)
        with pytest.raises(GscnError, match=r"others may write to it .* chmod go-w"):
            Cache(tmp_path)
    folder.chmod(0o755)
    assert Folder(tmp_path).get("key") is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_folders_of_others_are_refused(tmp_path):
    kept(tmp_path)
    os.chown(tmp_path / FOLDER, 12345, 12345)
    with pytest.raises(GscnError, match=r"belongs to another user \(number 12345\)"):
        Cache(tmp_path)


def test_a_folder_in_an_open_one_is_our_own(tmp_path):
    """A shared folder may be named: what is believed lies in one of our own inside."""
    tmp_path.chmod(0o777)
    kept(tmp_path)
    assert Folder(tmp_path).get("key") is not None


def test_leftovers_of_killed_writers_go(tmp_path):
    path = kept(tmp_path)
    left = path.with_name("x.result.aaaa.tmp")
    left.write_bytes(b"half")
    Folder(tmp_path).cut_back(1 << 20)
    assert left.exists()  # somebody may be writing it
    os.utime(left, (1, 1))
    Folder(tmp_path).cut_back(1 << 20)
    assert not left.exists()
    assert path.exists()


def test_reading_takes_memory_for_its_arrays_once(tmp_path):
    """A hundred MB of zeros in a small file, in a process that may take little more."""
    Folder(tmp_path).put("key", np.zeros(100 << 20, np.uint8))
    code = (
        "import resource, sys; from gscn_sim.run.disk import Folder; import numpy\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "found = Folder(sys.argv[1]).get('key'); assert found.nbytes == 100 << 20\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True
    )
    assert int(ran.stdout) < 130 << 10  # KiB
