"""Files that carry a digest of themselves: no damage gives other values, edits are told apart."""

from __future__ import annotations

import gzip
import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest

from gscn_sim.claims.reproduce import _kept
from gscn_sim.config import load_config
from gscn_sim.config.loader import dump_toml
from gscn_sim.files import sealed, to_json
from gscn_sim.gpu.device import find_device
from gscn_sim.gpu.fits import load_file
from gscn_sim.sweep.space import read_space
from gscn_sim.toml import TomlError, read_toml
from workloads import GscnError, known_step
from workloads.sealed_text import is_whole_text, row_digest, sealed_text
from workloads.step_file import load_step, save_step

DAMAGES = int(os.environ.get("DAMAGES", "60"))


def damaged(content: bytes, number: int, random: np.random.Generator) -> bytes:
    """A bit flipped, bytes replaced, a cut, something appended, a line lost."""
    place = int(random.integers(len(content)))
    match number % 6:
        case 0 | 1:
            flipped = content[place] ^ 1 << int(random.integers(8))
            return content[:place] + bytes([flipped]) + content[place + 1 :]
        case 2:
            return content[:place] + random.bytes(3) + content[place + 3 :]
        case 3:
            return content[: place + 1]
        case 4:
            return content + bytes([int(random.integers(1, 256))]) * 2
    lines = content.splitlines(keepends=True)
    del lines[place % len(lines)]
    return b"".join(lines)


def check_line(error: Exception) -> None:
    assert str(error).isprintable()


def survive(path: Path, content: bytes, read, survived, what: str) -> None:
    """Each damage is refused in one line, or what is read is what was written."""
    path.write_bytes(content)
    wanted, refused = read(path), 0
    random = np.random.default_rng(3)
    for number in range(DAMAGES):
        path.write_bytes(damaged(content, number, random))
        try:
            assert read(path) == wanted, number
        except (TomlError, GscnError) as error:
            check_line(error)
            refused += 1
    survived("damage", what, refused=refused, in_bytes_that_say_nothing=DAMAGES - refused)
    assert refused > DAMAGES // 2


def test_a_design_or_device(tmp_path, survived):
    text = sealed_text(dump_toml(load_config("gscn")))
    survive(tmp_path / "x.toml", text.encode(), read_toml, survived, "design, fitted device")


def test_a_step(tmp_path, survived):
    save_step(known_step("resnet8", 64), tmp_path / "s.json.gz")
    content = (tmp_path / "s.json.gz").read_bytes()

    def read(path: Path):
        step = load_step(path)
        return step.metadata(), tuple(step.operations)

    survive(tmp_path / "x.json.gz", content, read, survived, "operations of a step")
    plain = gzip.decompress(content)
    survive(tmp_path / "x.json", plain, read, survived, "operations of a step, plain JSON")


def test_a_reproduction(tmp_path, survived):
    content = to_json(sealed({"rows": [], "provenance": {"gscn": {"seed": 7, "code": "abc"}}}))

    def read(path: Path):
        return _kept(path, set())

    survive(tmp_path / "x.json", content.encode(), read, survived, "claims of a reproduction")


def test_a_text_without_a_digest_or_with_other_line_ends_is_whole():
    text = sealed_text("a = 1\nb = 2\n")
    assert is_whole_text(text)
    assert is_whole_text(text.replace("\n", "\r\n"))
    assert is_whole_text("\ufeff" + text)
    assert is_whole_text("a = 1\n")
    assert is_whole_text("# design of mine\na = 1\n")
    assert is_whole_text("")
    for length in range(1, text.index("\n") + 2):
        assert not is_whole_text(text[:length]), "cut off within the first line"
    assert not is_whole_text(text.replace("b = 2", "b = 3"))
    assert not is_whole_text(text + " ")


def test_an_edited_design_says_how_to_go_on(tmp_path):
    path = tmp_path / "best.toml"
    path.write_text(sealed_text("[pe]\naccumulator_banks = 32\n").replace("32", "64"))
    with pytest.raises(GscnError, match="if it was changed on purpose, delete its first line"):
        load_config(str(path))
    path.write_text(path.read_text().partition("\n")[2])
    assert load_config(str(path)).pe.accumulator_banks == 64


@pytest.mark.parametrize("content", ["", "\n", "\0" * 512])
def test_an_empty_file_is_no_design_space_or_device(tmp_path, content):
    """A file that says nothing on purpose says so in a comment."""
    path = tmp_path / "x.toml"
    path.write_text(content)
    for read in (load_config, read_space, find_device, lambda name: load_file(Path(name))):
        with pytest.raises(GscnError, match=r"x\.toml.*: is empty"):
            read(str(path))
    path.write_text("# gscn as it is\n")
    assert load_config(str(path)).name == "x"


def test_a_changed_step_says_how_to_go_on(tmp_path):
    save_step(known_step("resnet8", 64), tmp_path / "s.json.gz")
    document = json.loads(gzip.decompress((tmp_path / "s.json.gz").read_bytes()))
    path = tmp_path / "x.json"
    path.write_text(json.dumps(document, indent=2))  # laid out otherwise, the same step
    assert load_step(path) == known_step("resnet8", 64)
    path.write_text(json.dumps(document | {"batch_size": 63}))
    with pytest.raises(GscnError, match=r"not the step that was written; .* delete its digest"):
        load_step(path)
    del document["digest"]
    path.write_text(json.dumps(document))
    assert load_step(path) == known_step("resnet8", 64)


def test_digests_of_rows_depend_on_where_cells_end():
    assert row_digest(["ab", "c"]) != row_digest(["a", "bc"])


def test_runs_of_a_study(tmp_path, survived):
    pytest.importorskip("torch")
    from resprop_train.study import Outcome, _rewrite, plan, read_runs

    runs = plan(
        model="resnet8",
        dataset="digits",
        rule="quantile",
        epochs=1,
        batch_size=128,
        learning_rate=0.1,
        clip_norm=None,
        reuse_sparsities=[0.5, 0.9],
        warmup_epochs=0.5,
        seeds=4,
    )
    ends = {
        run: Outcome(
            accuracy=0.9 + index / 1000,
            batch_accuracy=0.9,
            mean_density=0.1,
            backward_work_reduction=9.0,
            whole_run_work_reduction=4.0,
            seconds=1.0,
        )
        for index, run in enumerate(runs)
    }
    path = tmp_path / "accuracy_runs.csv"
    _rewrite(path, ends)
    content = path.read_bytes()
    random = np.random.default_rng(3)
    refused = part = 0
    for number in range(DAMAGES):
        path.write_bytes(damaged(content, number, random))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = read_runs(path)
        except GscnError as error:
            check_line(error)
            refused += 1
        else:
            assert found.items() <= ends.items()
            part += len(found) < len(ends)
    survived(
        "damage",
        "runs of a study",
        whole_table=DAMAGES - part - refused,
        the_whole_rows=part,
        refused=refused,
    )
    assert refused < DAMAGES // 3 < part
