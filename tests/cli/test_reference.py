from pathlib import Path

import click

from gscn_sim.cli import main
from gscn_sim.cli.reference import reference

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/cli.md"


def test_the_page_is_what_the_program_says():
    hint = "python -m gscn_sim.cli.reference > docs/reference/cli.md"
    assert PAGE.read_text(encoding="utf-8") == reference(), hint


def test_every_command_has_a_section_with_its_options():
    page = reference()
    for heading in ("run", "sweep", "trace synth", "config show", "verify", "demo", "sweep pareto"):
        assert f"## `gscn-sim {heading}`" in page
    assert "- `--timeline FILE`: " in page


def test_an_option_is_explained_once_and_named_by_every_command_that_has_it():
    page = reference()
    sections = {part.split("`")[1]: part for part in page.split("\n## ")[1:] if part[0] == "`"}
    shared = page.split("\n## ")[1]
    assert "`--config NAME" in shared
    with click.Context(main, info_name="gscn-sim", **main.context_settings) as context:
        for name in ("run", "sweep", "sweep best", "verify"):
            section = sections[f"gscn-sim {name}"]
            for parameter in main.get_command(context, name).get_params(context):
                long = parameter.opts[-1]
                if (
                    isinstance(parameter, click.Option)
                    and not parameter.hidden
                    and long != "--help"
                ):
                    *table, last = section.strip().splitlines()
                    own = any(f"{long} " in row or f"{long}`" in row for row in table)
                    assert own != (f"`{long}`" in last and last.startswith("Also")), (name, long)
                    assert own or f"{long} " in shared or f"{long}`" in shared
