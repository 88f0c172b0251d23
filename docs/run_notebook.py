"""Run the notebook in ``docs/notebooks`` and write it with its outputs: ``make notebook``.

The source is a Python file of cells (``# %%``), which editors and jupytext know. The result is an
``.ipynb`` to open in Jupyter and a page of the site; neither needs Jupyter to be made or read.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

HOME = Path(__file__).parent
SOURCE = HOME / "notebooks" / "own_model.py"
NOTEBOOK = SOURCE.with_suffix(".ipynb")
PAGE = HOME / "tutorial" / "notebook.md"
PICTURE = "figures/notebook-{}.png"
HEAD = """<!-- Made by `make notebook` from docs/notebooks/own_model.py; do not edit. -->
"""
FOOT = """
The notebook itself: [own_model.ipynb](../notebooks/own_model.ipynb).
"""

Cell = dict[str, Any]


def cells(text: str) -> list[tuple[bool, str]]:
    """Whether each cell is code, and its source; Markdown without its comment signs."""
    found = []
    for part in re.split(r"^# %%", text, flags=re.M)[1:]:
        head, _, body = part.partition("\n")
        code = "[markdown]" not in head
        body = body.strip("\n")
        found.append((code, body if code else re.sub(r"^# ?", "", body, flags=re.M)))
    return found


def run_cell(code: str, names: dict[str, Any]) -> list[Cell]:
    """Outputs of a cell: what it prints, its last expression, its figures."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    said = io.StringIO()
    value = None
    with contextlib.redirect_stdout(said):
        exec(compile(tree, str(SOURCE), "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), str(SOURCE), "eval"), names)
    outputs: list[Cell] = []
    if said.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": said.getvalue()})
    if hasattr(value, "_repr_html_"):
        data = {"text/html": value._repr_html_(), "text/plain": repr(value)}
        outputs.append({"output_type": "display_data", "metadata": {}, "data": data})
    for number in plt.get_fignums():
        picture = io.BytesIO()
        plt.figure(number).savefig(
            picture, format="png", dpi=90, bbox_inches="tight", metadata={"Software": None}
        )
        data = {"image/png": base64.b64encode(picture.getvalue()).decode()}
        outputs.append({"output_type": "display_data", "metadata": {}, "data": data})
    plt.close("all")
    return outputs


def run(sources: list[tuple[bool, str]]) -> list[Cell]:
    """The cells of the notebook with their outputs, run in a folder of their own."""
    made: list[Cell] = []
    names: dict[str, Any] = {"__name__": "__main__"}
    count = 0
    for number, (code, source) in enumerate(sources):
        cell: Cell = {"cell_type": "code" if code else "markdown", "id": f"cell-{number}"}
        cell |= {"metadata": {}, "source": source}
        if code:
            count += 1
            cell |= {"execution_count": count, "outputs": run_cell(source, names)}
        made.append(cell)
    return made


def page(made: list[Cell]) -> tuple[str, dict[str, bytes]]:
    """The Markdown page, and its pictures by path below ``docs/``."""
    parts, pictures = [HEAD], {}
    for cell in made:
        if cell["cell_type"] == "markdown":
            parts.append(cell["source"] + "\n")
            continue
        parts.append(f"```python\n{cell['source']}\n```\n")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                path = PICTURE.format(len(pictures) + 1)
                pictures[path] = base64.b64decode(data["image/png"])
                title = re.findall("^## (.*)", parts[-3] + parts[-2], re.M)[-1]
                parts.append(f"![{title}](../{path})\n")
            elif "text/html" in data:
                table = re.sub(r"<style.*?</style>\n?", "", data["text/html"], flags=re.S)
                parts.append(table + "\n")
            else:
                parts.append(f"```text\n{output['text'].rstrip()}\n```\n")
    return "\n".join(parts) + FOOT, pictures


def main() -> None:
    """Run the notebook, write the three results."""
    mpl.use("Agg")
    sources = cells(SOURCE.read_text(encoding="utf-8"))
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            made = run(sources)
        finally:
            os.chdir(before)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    document = {
        "cells": made,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    NOTEBOOK.write_text(text, encoding="utf-8")
    written, pictures = page(made)
    PAGE.write_text(written, encoding="utf-8")
    for path, content in pictures.items():
        (HOME / path).write_bytes(content)


if __name__ == "__main__":
    main()
