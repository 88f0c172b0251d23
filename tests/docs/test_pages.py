"""The documentation holds: links lead somewhere, code parses, commands and options exist."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from gscn_sim.cli import main as gscn_sim
from resprop_train.cli import main as resprop_train

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PROGRAMS = {"gscn-sim": gscn_sim, "resprop-train": resprop_train}
EVERY = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in [*PAGES, *TOP]]


def blocks(path: Path) -> Iterator[tuple[str, str]]:
    """Language (empty for none) and text of each fenced block."""
    text = path.read_text(encoding="utf-8")
    yield from re.findall(r"^```(\w*)\n(.*?)^```$", text, re.S | re.M)


def commands(path: Path) -> Iterator[str]:
    """Every call of one of our programs in a page's blocks, continued lines joined."""
    for language, text in blocks(path):
        if language not in ("", "sh", "bash"):
            continue
        shell = "$ " in text  # then lines without a prompt are what was printed
        for line in text.replace("\\\n", " ").splitlines():
            words = line.strip()
            if shell and not words.startswith("$ "):
                continue
            words = words.removeprefix("$ ").split("  #")[0].strip()
            if words.split(" ")[0] in PROGRAMS and "[" not in words:
                yield words


@pytest.mark.parametrize("path", EVERY)
def test_code_blocks_parse(path: Path) -> None:
    for language, text in blocks(path):
        if language == "python":
            ast.parse(text.replace("...\n", "pass\n"))
        elif language == "toml":
            tomllib.loads(text)
        elif language in ("sh", "bash"):
            done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True)
            assert done.returncode == 0, done.stderr
        else:
            assert language in ("", "text", "json", "yaml"), f"unknown language {language!r}"


@pytest.mark.parametrize("path", EVERY)
def test_commands_have_these_options(path: Path) -> None:
    for line in commands(path):
        name, *words = shlex.split(line.replace("$C", "").replace("$Q", ""))
        command: click.Command = PROGRAMS[name]
        context = click.Context(command, info_name=name)
        while True:
            context = command.make_context(
                name, list(words), parent=context, resilient_parsing=False
            )
            rest = [*context._protected_args, *context.args]
            if not isinstance(command, click.Group) or not rest:
                break
            found_name, found, words = command.resolve_command(context, rest)
            assert found is not None, f"{line}: no command {rest[0]}"
            command, name = found, str(found_name)


def test_the_commands_that_are_checked_are_many() -> None:
    assert sum(len(list(commands(path))) for path in [*PAGES, *TOP]) > 30


@pytest.mark.parametrize("path", TOP)
def test_links_from_the_top_lead_to_files(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (path.parent / target).exists(), target


def test_generated_pages_are_current() -> None:
    for name, text in runpy.run_path(str(ROOT / "docs" / "generate.py"))["pages"]().items():
        page = ROOT / "docs" / name
        assert page.read_text(encoding="utf-8") == text, f"{name}: run make reference"


def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path / "site")],
        cwd=ROOT,
        text=True,
        capture_output=True,
        env={"PATH": "", "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "tutorial" / "model-to-speedup" / "index.html").is_file()
