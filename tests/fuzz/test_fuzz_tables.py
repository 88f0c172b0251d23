"""Tables in every dress and with every fault: read as meant, or refused.

A case starts from the numbers that are meant. They are written with a separator, an encoding, line
ends, quotes, an index and a decimal sign drawn at random; then some cases get a fault. What is
accepted must be what was meant, whatever the file looks like.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gscn_sim.cli.gpu import _read_table
from workloads import GscnError
from workloads.interop.layer_table import read_layer_table
from workloads.interop.scalesim import read_topology

CASES = 5_100
FAULTY_SHARE = 0.6
Meaning = list[tuple[Any, ...]]
SIZES = ("C", "H", "W", "K", "R", "S")
OPTIONAL = ("pad_h", "stride_h", "stride_w", "dilation_w", "groups")
DENSITIES = ("activation_density", "gradient_density", "weight_density")
ENCODINGS = {
    "utf-8": b"",
    "utf-8-sig": b"",
    "utf-16": b"",
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32": b"",
}


@dataclass(kw_only=True)
class Sheet:
    """A table before it is bytes: names, cells, and how they are to be written."""

    names: list[str]
    cells: list[list[str]]
    separator: str
    encoding: str
    line_end: str
    quoted: bool
    spaced: bool
    comments: bool
    mark: bytes = b""
    trailing: bool = False
    separators: dict[int, str] = field(default_factory=dict)  # of single lines

    def text(self) -> str:
        lines = []
        for number, cells in enumerate([self.names, *self.cells]):
            separator = self.separators.get(number, self.separator)
            gap = " " if self.spaced else ""
            shown = [f'"{cell}"' if self.quoted and cell else cell for cell in cells]
            lines.append((separator + gap).join(shown) + (separator if self.trailing else ""))
            if self.comments:
                lines.append("# a remark")
        return self.line_end.join([*lines, ""])

    def content(self) -> bytes:
        return self.mark + self.text().encode(self.encoding)


def a_sheet(rng: np.random.Generator, names: list[str], rows: Meaning) -> Sheet:
    """The rows in a dress that leaves their meaning alone."""
    separator = str(rng.choice([",", ";", "\t"]))
    comma = separator != "," and rng.random() < 0.5
    point_zero = rng.random() < 0.2
    encoding = str(rng.choice(list(ENCODINGS)))

    def shown(value: Any) -> str:
        if isinstance(value, float):
            return str(value).replace(".", "," if comma else ".")
        if isinstance(value, int):
            return f"{value}{',' if comma else '.'}0" if point_zero else str(value)
        return str(value)

    cells = [[shown(value) for value in row] for row in rows]
    if rng.random() < 0.2:
        names = [str(rng.choice(["", "Unnamed: 0"])), *names]
        start = int(rng.integers(0, 5)) if len(cells) > 1 else 0
        cells = [[str(start + 2 * index), *row] for index, row in enumerate(cells)]
    return Sheet(
        names=list(names),
        cells=cells,
        separator=separator,
        encoding=encoding,
        mark=ENCODINGS[encoding],
        line_end=str(rng.choice(["\n", "\r\n", "\r"])),
        quoted=rng.random() < 0.2,
        spaced=rng.random() < 0.2,
        comments=rng.random() < 0.1,
        trailing=rng.random() < 0.2,
    )


def place(rng: np.random.Generator, sheet: Sheet) -> tuple[list[str], int]:
    """A line and the place of a number in it: a layer may be called anything."""
    line = sheet.cells[int(rng.integers(len(sheet.cells)))]
    numbers = [at for at, name in enumerate(sheet.names) if "layer" not in name.casefold()]
    return line, int(rng.choice(numbers))


def surplus(rng: np.random.Generator, sheet: Sheet) -> None:
    line, at = place(rng, sheet)
    line.insert(at, str(rng.choice(["1", "15", "0.5", "x"])))


def missing(rng: np.random.Generator, sheet: Sheet) -> None:
    line, at = place(rng, sheet)
    del line[at]


def decimal_comma(rng: np.random.Generator, sheet: Sheet) -> None:
    sheet.quoted = False
    sheet.separator = ","
    line, at = place(rng, sheet)
    line[at] += ",15"


def twice(rng: np.random.Generator, sheet: Sheet) -> None:
    line, at = place(rng, sheet)
    name = sheet.names[min(at, len(sheet.names) - 1)] or "C"
    sheet.names.append(str(rng.choice([name, f" {name} "])))
    for cells in sheet.cells:
        cells.append(line[at] or "1")


def unnamed(rng: np.random.Generator, sheet: Sheet) -> None:
    at = int(rng.integers(1, len(sheet.names) + 1))
    sheet.names.insert(at, "")
    for cells in sheet.cells:
        cells.insert(at, "3")


def no_name(rng: np.random.Generator, sheet: Sheet) -> None:
    at = int(rng.integers(len(sheet.names)))
    sheet.names[at] = ""
    if at == 0:  # numbers that increase would be an index there
        sheet.cells.append(list(sheet.cells[-1]))


def misspelled(rng: np.random.Generator, sheet: Sheet) -> None:
    at = int(rng.integers(len(sheet.names)))
    sheet.names[at] += str(rng.choice(["s", "_", "x", "2"]))


def swapped_names(rng: np.random.Generator, sheet: Sheet) -> None:
    del sheet.names[int(rng.integers(len(sheet.names)))]


def mixed_separators(rng: np.random.Generator, sheet: Sheet) -> None:
    line = int(rng.integers(len(sheet.cells) + 1))
    sheet.separators[line] = {",": ";", ";": ",", "\t": ","}[sheet.separator]
    sheet.quoted = False


def other_separator(rng: np.random.Generator, sheet: Sheet) -> None:
    sheet.separator = str(rng.choice(["|", ":", " "]))


def thousands(rng: np.random.Generator, sheet: Sheet) -> None:
    line, at = place(rng, sheet)
    while "density" in sheet.names[at]:  # no density has thousands
        line, at = place(rng, sheet)
    groups = ["1,000", "1 000", "2.000,0", "1'000"]  # a point is a decimal point beside commas
    line[at] = str(rng.choice([*groups, *(["1.000"] if sheet.separator != "," else [])]))


def no_number(rng: np.random.Generator, sheet: Sheet) -> None:
    line, at = place(rng, sheet)
    wrong = [
        "1e1",
        "1_0",
        "+3",
        "-2",
        "0x10",
        "nan",
        "3.5",
        "١",
        "TRUE",
        "15%",
        "1/2",
        "inf",
        "8x8",
    ]
    line[at] = str(rng.choice(wrong))


def wrong_mark(rng: np.random.Generator, sheet: Sheet) -> None:
    marks = [codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE]
    sheet.mark = marks[int(rng.integers(len(marks)))]


def other_encoding(rng: np.random.Generator, sheet: Sheet) -> None:
    sheet.mark = b""
    sheet.encoding = str(rng.choice(["cp037", "utf-32-be", "latin-1", "cp500"]))


def open_quote(rng: np.random.Generator, sheet: Sheet) -> None:
    line, at = place(rng, sheet)
    line[at] = '"' + line[at]


def header_again(rng: np.random.Generator, sheet: Sheet) -> None:
    sheet.cells.insert(int(rng.integers(len(sheet.cells) + 1)), list(sheet.names))


def no_header(rng: np.random.Generator, sheet: Sheet) -> None:
    sheet.names = sheet.cells.pop(0)


FAULTS: tuple[Callable[[np.random.Generator, Sheet], None], ...] = (
    *(surplus, missing, decimal_comma, twice, unnamed, no_name, misspelled, swapped_names),
    *(mixed_separators, other_separator, thousands, no_number, wrong_mark, other_encoding),
    *(open_quote, header_again, no_header),
)


def layer_rows(rng: np.random.Generator) -> tuple[list[str], Meaning]:
    optional = [name for name in OPTIONAL if rng.random() < 0.5]
    densities = [name for name in DENSITIES if rng.random() < 0.5]
    names = ["layer", *SIZES, *optional, *densities]
    rng.shuffle(names)
    rows = []
    for index in range(int(rng.integers(1, 5))):
        values: dict[str, Any] = {"layer": f"conv {index}é", "groups": 2}
        values |= {name: 2 * int(rng.integers(4, 60)) for name in "CHWK"}
        values |= {name: int(rng.integers(1, 4)) for name in (*"RS", *OPTIONAL[:-1])}
        values |= {name: float(rng.integers(1, 100)) / 100 for name in DENSITIES}
        rows.append(tuple(values[name] for name in names))
    return names, rows


def read_layers(path: Path, names: list[str]) -> Meaning:
    found = []
    for layer in read_layer_table(path):
        s = layer.shape
        values: dict[str, Any] = {name: getattr(s, name) for name in SIZES}
        values |= {"layer": layer.name, "groups": s.groups, "pad_h": s.padding[0]}
        values |= {"stride_h": s.stride[0], "stride_w": s.stride[1], "dilation_w": s.dilation[1]}
        values |= {f"{operand}_density": value for operand, value in layer.densities.items()}
        found.append(tuple(values[name] for name in names))
    return found


GPU = ("N", *SIZES, "pad_h", "pad_w", "stride_h", "stride_w")


def gpu_rows(rng: np.random.Generator) -> tuple[list[str], Meaning]:
    names = [*GPU, *(["groups"] if rng.random() < 0.5 else [])]
    rng.shuffle(names)
    rows = []
    for _ in range(int(rng.integers(1, 5))):
        values: dict[str, Any] = {name: 2 * int(rng.integers(4, 60)) for name in "NCHWK"}
        values |= {name: int(rng.integers(1, 4)) for name in GPU[5:]}
        rows.append(tuple((values | {"groups": 2})[name] for name in names))
    return names, rows


def read_gpu(path: Path, names: list[str]) -> Meaning:
    return [tuple(row) for row in _read_table(path)[names].to_numpy().tolist()]


CONV = ("IFMAP Height", "IFMAP Width", "Filter Height", "Filter Width", "Channels", "Num Filter")


def topology_rows(rng: np.random.Generator) -> tuple[list[str], Meaning]:
    strides = ["Strides"] if rng.random() < 0.5 else ["Stride height", "Stride width"]
    names = ["Layer name", *CONV, *strides]
    rows = []
    for index in range(int(rng.integers(1, 5))):
        r, s, *steps = (int(v) for v in rng.integers(1, 6, 2 + len(strides)))
        height = r + steps[0] * int(rng.integers(20))
        width = s + steps[-1] * int(rng.integers(20))
        c, k = (int(v) for v in rng.integers(1, 99, 2))
        rows.append((f"Conv{index}é", height, width, r, s, c, k, *steps))
    return names, rows


def read_layers_of_topology(path: Path, names: list[str]) -> Meaning:
    found = []
    for layer in read_topology(path):
        assert not layer.densities
        s = layer.shape
        strides = s.stride if len(names) == 9 else s.stride[:1]
        if len(names) == 8:
            assert s.stride[0] == s.stride[1]
        found.append((layer.name, s.H, s.W, s.R, s.S, s.C, s.K, *strides))
    return found


KINDS: tuple[tuple[Any, Any], ...] = (
    (layer_rows, read_layers),
    (gpu_rows, read_gpu),
    (topology_rows, read_layers_of_topology),
)


def test_tables_in_every_dress(tmp_path: Path, fuzz: Any) -> None:
    rng = np.random.default_rng(17)
    path = tmp_path / "layers.csv"
    counts = {"sound": fuzz("sound tables", ()), "faulty": fuzz("faulty tables", GscnError)}
    for number in range(CASES):
        make, read = KINDS[number % len(KINDS)]
        names, meant = make(rng)
        sheet = a_sheet(rng, names, meant)
        faulty = rng.random() < FAULTY_SHARE
        fault = FAULTS[int(rng.integers(len(FAULTS)))]
        if faulty:
            fault(rng, sheet)
        path.write_bytes(sheet.content())

        def case(read: Any = read, names: Any = names, meant: Any = meant) -> bool:
            return read(path, names) == meant

        shown = f"{fault.__name__ if faulty else 'no fault'}: {sheet.text()!r} meant {meant}"
        counts["faulty" if faulty else "sound"](case, lambda shown=shown: shown)
