"""Commands as a user types them."""

from __future__ import annotations

from click.testing import CliRunner

from gscn_sim.cli import main


def command(*words: object) -> None:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.stderr
