"""Write the generated reference pages: ``make reference``."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from gscn_sim.cli.reference import command_reference, config_reference, reference
from resprop_train.cli import main as resprop_train
from resprop_train.recipe import PRESETS, Recipe

TRAINER_HEAD = """# The trainer's command

Generated from the program by `make reference`; do not edit. Bad input is one line on stderr and
exit code 2.
[Train your own model](../howto/train-your-own-model.md) says what the options are for.
"""


RECIPES = """
## Recipes

What an option is when it is left out, with `--preset default` and `--preset paper`. Without
`--warmup-epochs` the warm-up is the published 9 epochs, but at most a third of the run.

"""
OPTIONS = {"max_steps": "steps", "per_layer": "layer"}
"""Settings of a recipe that an option calls by another name."""


def recipes() -> str:
    """The values that training options have when they are left out."""
    options = {option for parameter in resprop_train.params for option in parameter.opts}
    lines = ["| option | `default` | `paper` |", "|---|---|---|"]
    found = {preset: Recipe(**settings) for preset, settings in PRESETS.items()}
    for setting in fields(Recipe):
        option = "--" + OPTIONS.get(setting.name, setting.name).replace("_", "-")
        values = [getattr(found[preset], setting.name) for preset in ("default", "paper")]
        if (option in options and values[0] not in (None, False, {})) or values[0] != values[1]:
            name = f"`{option}`" if option in options else f"{setting.name} (no option)"
            lines.append("| " + " | ".join([name, *map(str, values)]) + " |")
    return RECIPES + "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """Path below ``docs/`` -> text of each generated page."""
    return {
        "reference/cli.md": reference(),
        "reference/resprop-train.md": command_reference(
            resprop_train, "resprop-train", TRAINER_HEAD
        )
        + recipes(),
        "reference/config.md": config_reference(),
    }


if __name__ == "__main__":
    for name, text in pages().items():
        (Path(__file__).parent / name).write_text(text, encoding="utf-8")
