"""The reader of tables: the same in every dress, and refused where it cannot be told."""

from __future__ import annotations

import codecs
from pathlib import Path

import pandas as pd
import pytest

from workloads import GscnError, LayerShape
from workloads.interop.imported import ImportedLayer, with_own_names
from workloads.interop.layer_table import read_layer_table

TEXT = "layer,C,H,W,K,R,S,groups,gradient_density\na,4,8,8,4,3,3,2,0.15\nb,4,6,6,4,3,3,,0.5\n"
LAYERS = [
    ImportedLayer(
        name="a",
        shape=LayerShape(C=4, H=8, W=8, K=4, R=3, S=3, groups=2),
        densities={"gradient": 0.15},
    ),
    ImportedLayer(
        name="b", shape=LayerShape(C=4, H=6, W=6, K=4, R=3, S=3), densities={"gradient": 0.5}
    ),
]


def read(folder: Path, content: str | bytes) -> list[ImportedLayer]:
    path = folder / "layers.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_layer_table(path)


@pytest.mark.parametrize(
    "content",
    [
        TEXT,
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("\n", "\r"),
        TEXT.replace(",", ";"),
        TEXT.replace(",", ";").replace("0.", "0,"),
        TEXT.replace(",", "\t"),
        TEXT.replace(",", ",\t"),
        TEXT.replace(",", " , "),
        "sep=;\n" + TEXT.replace(",", ";"),
        "# made by hand\n\n" + TEXT.replace("a,4", "\n# the first\na,4"),
        TEXT.replace("\n", ",\n"),
        TEXT.replace("\n", ",,,\n") + ",,,,\n",
        TEXT.replace("4,", "4.0,").replace("8,", "8.000,"),
        TEXT.replace("a,", '"a",').replace("0.15", '"0.15"'),
        codecs.BOM_UTF8 + TEXT.encode(),
        TEXT.encode("utf-16"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        "".join(f"{i},{line}\n" for i, line in zip(["", 0, 1], TEXT.splitlines(), strict=True)),
        "".join(
            f"{i},{line}\n" for i, line in zip(["Unnamed: 0", 7, 3], TEXT.splitlines(), strict=True)
        ),
    ],
)
def test_the_same_table_in_every_dress(tmp_path: Path, content: str | bytes) -> None:
    assert read(tmp_path, content) == LAYERS


def test_what_pandas_writes_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "layers.csv"
    path.write_text(TEXT)
    frame = pd.read_csv(path)
    for made in (frame, frame.astype({"C": float}), frame[::-1].sort_values("layer")):
        made.to_csv(path)
        pd.read_csv(path).to_csv(path, index=False)
        assert read_layer_table(path) == LAYERS
        made.to_csv(path, sep=";", decimal=",", encoding="utf-16")
        assert read_layer_table(path) == LAYERS


HEAD, FIRST, SECOND = TEXT.splitlines()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # a decimal comma, with cells left over, hidden by a short line, in a file of commas
        (f"{HEAD}\na,4,8,8,4,3,3,1,0,15\n", "line 2: every cell must stand under .* '15' does not"),
        (f"{HEAD}\na,4,8,8,4,3,3,0,15\n", "line 2: groups must be a positive int, got 0"),
        (f"{HEAD},x\na,4,8,8,4,3,3,1,0,15\n", "columns may be"),
        (f"{HEAD}\na,4,8,8,4,3,0,15\n", "line 2: must have a cell for each of the 9 columns"),
        (f'{HEAD}\na,4,8,8,4,3,3,1,"0,15"\n', "must be from 0 to 1, got '0,15'"),
        # surplus and missing cells
        (f"{TEXT}c,4,6,6,4,3,3,,0.5,9\n", "line 4: every cell must stand under a column name"),
        (f"{TEXT}c,4,6,6,4,3,3\n", "line 4: must have a cell for each of the 9 columns, got 7"),
        (f"{HEAD},\n{FIRST},3\n", "every cell must stand under a column name"),
        (f",{HEAD}\nx,{FIRST}\n", "every cell must stand under a column name, 'x'"),
        (
            f",{HEAD}\n2,{FIRST}\n",
            "every cell must stand under a column name, '2' does not .*index",
        ),
        (f",{HEAD}\n3,{FIRST}\n2,{SECOND}\n", "every cell must stand under a column name, '3'"),
        (f",{HEAD}\n2,{FIRST}\n2,{SECOND}\n", "every cell must stand under a column name, '2'"),
        (HEAD.replace("groups", "") + f"\n{FIRST}\n", "'2' does not"),
        # columns
        (TEXT.replace("groups", "C"), "line 1: a column must be there only once, got 'C' twice"),
        (TEXT.replace("groups", "group"), "got 'group'; did you mean groups"),
        (TEXT.replace("layer", "name"), "line 1: must have column layer"),
        (f"dil_h,dilation_h,{HEAD}\n1,2,{FIRST}\n", "got 'dilation_h' twice"),
        (f"{FIRST}\n{SECOND}\n", "the first line must name the columns, got the number '4'"),
        # separators
        (HEAD.replace(",K", ";K") + f"\n{FIRST}\n", "one kind of separator must divide"),
        (f"{HEAD}\n{FIRST.replace(',', ';')}\n", "line 2: must have a cell for each of the 9"),
        (f"sep=|\n{TEXT}", "separated by comma, semicolon, tab, got '|'"),
        (TEXT.replace(",", "|"), "line 1: must have column"),
        # numbers
        (TEXT.replace("8,8", "8.5,8"), "column H: must be a whole number, got '8.5'"),
        (TEXT.replace("8,8", "1e1,8"), "column H: must be a whole number, got '1e1'"),
        (TEXT.replace("8,8", "1_0,8"), "column H: must be a whole number"),
        (TEXT.replace("8,8", "\uff18,8"), "column H: must be a whole number"),
        (TEXT.replace("8,8", ",8"), "column H: must be a whole number, got ''"),
        (TEXT.replace("0.15", "0_1"), "must be from 0 to 1, got '0_1'"),
        (TEXT.replace("0.15", "15%"), "must be from 0 to 1, got '15%'"),
        (TEXT.replace("0.15", "-0.1"), "must be from 0 to 1"),
        (TEXT.replace("8,8", "1.000,8").replace(",", ";"), "without thousands separators"),
        (
            TEXT.replace(",", ";").replace(";8;8", ";1,000;8"),
            "column H: must be a whole number without thousands separators, got '1,000'",
        ),
        # quotes, lines, encodings
        (TEXT.replace("a,4", '"a,4'), "line 2: cannot be read as a table"),
        (TEXT.replace("a,4", '"a\nx",4'), "line 2: cannot be read as a table"),
        (TEXT.replace("a,4", '"a"x,4'), "line 2: cannot be read as a table"),
        (TEXT.replace("a,4", ",4"), "column layer: layer name must be 1 to 200"),
        (TEXT.encode("utf-16-be")[1:], "cannot be read as a table"),
        (TEXT.replace("a,4", "é,4").encode("latin-1"), "it must be UTF-8, or UTF-16"),
        (b"PK\x03\x04\x00\x00", "it is no text"),
        ("", "must hold a line of column names, got none"),
        ("\n \n# nothing\n", "must hold a line of column names, got none"),
        (f"{HEAD}\n\n", "must have at least one line below, got none"),
    ],
)
def test_what_cannot_be_told_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(GscnError, match=message) as raised:
        read(tmp_path, content)
    assert "layers.csv" in str(raised.value)
    assert str(raised.value).isprintable()


def test_repeated_names_get_the_next_free_number() -> None:
    shape = LAYERS[0].shape
    names = ["a", "a", "a_2", "a", "b", "x" * 200, "y" + "x" * 200]
    made = with_own_names(ImportedLayer(name=name, shape=shape) for name in names)
    assert [layer.name for layer in made] == [
        *("a", "a_3", "a_2", "a_4", "b", "x" * 200, "x" * 198 + "_2"),
    ]
