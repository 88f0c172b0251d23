"""Write the generated reference pages: ``make reference``."""

from __future__ import annotations

from pathlib import Path

from gscn_sim.cli.reference import command_reference, config_reference, reference
from resprop_train.cli import main as resprop_train

TRAINER_HEAD = """# The trainer's command

Generated from the program by `make reference`; do not edit. Bad input is one line on stderr and
exit code 2.
[Train your own model](../howto/train-your-own-model.md) says what the options are for.
"""


def pages() -> dict[str, str]:
    """Path below ``docs/`` -> text of each generated page."""
    return {
        "reference/cli.md": reference(),
        "reference/resprop-train.md": command_reference(
            resprop_train, "resprop-train", TRAINER_HEAD
        ),
        "reference/config.md": config_reference(),
    }


if __name__ == "__main__":
    for name, text in pages().items():
        (Path(__file__).parent / name).write_text(text, encoding="utf-8")
