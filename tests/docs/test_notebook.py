"""The notebook of the documentation: what is shipped is what its source says, with outputs."""

from __future__ import annotations

import ast
import base64
import json
import runpy
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def maker() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "run_notebook.py"))


def test_notebook_and_page_are_of_the_source(maker: dict[str, Any]) -> None:
    sources = maker["cells"](maker["SOURCE"].read_text(encoding="utf-8"))
    document = json.loads(maker["NOTEBOOK"].read_text(encoding="utf-8"))
    shipped = [(cell["cell_type"] == "code", cell["source"]) for cell in document["cells"]]
    assert shipped == sources, "run make notebook"
    text, pictures = maker["page"](document["cells"])
    assert maker["PAGE"].read_text(encoding="utf-8") == text
    for path, content in pictures.items():
        assert (DOCS / path).read_bytes() == content


def test_every_kind_of_output_is_there(maker: dict[str, Any]) -> None:
    document = json.loads(maker["NOTEBOOK"].read_text(encoding="utf-8"))
    outputs = [output for cell in document["cells"] for output in cell.get("outputs", ())]
    kinds = [key for output in outputs for key in output.get("data", ("stream",))]
    assert {"stream", "text/html", "image/png"} <= set(kinds)
    assert not [output for output in outputs if output["output_type"] == "error"]
    for output in outputs:
        if "image/png" in output.get("data", {}):
            assert base64.b64decode(output["data"]["image/png"]).startswith(b"\x89PNG")


def test_a_cell_gives_what_it_prints_and_its_last_value(maker: dict[str, Any]) -> None:
    names: dict[str, Any] = {}
    (said,) = maker["run_cell"]("a = 3\nprint(a)", names)
    assert said == {"output_type": "stream", "name": "stdout", "text": "3\n"}
    frame = "import pandas as pd\npd.DataFrame({'x': [a]})"
    (shown,) = maker["run_cell"](frame, names)
    assert "<td>3</td>" in shown["data"]["text/html"]
    ast.parse(maker["SOURCE"].read_text(encoding="utf-8"))
