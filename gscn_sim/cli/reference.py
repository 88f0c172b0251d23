"""The reference of every command, generated: ``python -m gscn_sim.cli.reference > FILE``."""

from __future__ import annotations

from collections.abc import Iterator

import click

from gscn_sim.cli import COMMANDS, main

HEAD = """# Commands

Generated from the program by `python -m gscn_sim.cli.reference`; do not edit.

Every command prints its tables on stdout and its progress on stderr. Bad input is one line on
stderr and exit code 2, an internal error exit code 1 (`gscn-sim --debug COMMAND ...` shows the
traceback), an interrupt 130. Output files appear whole or not at all.
"""


def reference() -> str:
    """The page, in Markdown."""
    parts = [HEAD]
    with click.Context(main, info_name="gscn-sim") as context:
        for name in COMMANDS:
            command = main.get_command(context, name)
            assert command is not None
            parts.extend(_sections(command, name, context))
    return "\n".join(parts)


def _sections(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"## `{context.command_path}`\n\n{_prose(command.help)}\n\n    {usage}\n"
    records = [
        record
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option) and "--help" not in parameter.opts
        and (record := parameter.get_help_record(context)) is not None
    ]  # fmt: skip
    if records:
        lines = [f"| `{_cell(option)}` | {_cell(text)} |" for option, text in records]
        yield "\n".join(["| option | meaning |", "|---|---|", *lines]) + "\n"
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from _sections(found, child, context)


def _prose(text: str | None) -> str:
    return " ".join((text or "").split())


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    click.echo(reference(), nl=False)
