from pathlib import Path

from gscn_sim.cli.reference import reference

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/cli.md"


def test_the_page_is_what_the_program_says():
    hint = "python -m gscn_sim.cli.reference > docs/reference/cli.md"
    assert PAGE.read_text(encoding="utf-8") == reference(), hint


def test_every_command_has_a_section_with_its_options():
    page = reference()
    for heading in ("run", "sweep", "trace synth", "config show", "verify", "demo", "pareto"):
        assert f"## `gscn-sim {heading}`" in page
    assert "| `--timeline FILE` |" in page
