"""What errors, interrupts and readers that have left look like to the shell, in both commands."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from workloads.errors import GscnError, did_you_mean, one_line

USER_ERROR = 2
INTERNAL_ERROR = 1
INTERRUPTED = 130


class OneLineErrors(click.Group):
    """A group that turns errors into one line on stderr; ``--debug`` adds the traceback.

    An error of the user's ends with exit code 2, one of ours with 1, an interrupt with 130.
    """

    def __init__(self, **attributes: Any) -> None:
        settings = {"help_option_names": ["-h", "--help"]} | attributes.pop("context_settings", {})
        super().__init__(context_settings=settings, **attributes)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand; the message about an unknown one proposes another."""
        name = str(args[0])
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            known = self.list_commands(ctx)
            raise click.UsageError(
                f"no such command {one_line(name)!r:.80}"
                f"{did_you_mean(name, known) or '; there are ' + ', '.join(known)}",
                ctx,
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that the context names."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader has left. Python would complain again when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(0) from None

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run; exits the process unless ``standalone_mode`` is off."""
        run = functools.partial(super().main, args, prog_name, complete_var, **extra)
        if not standalone_mode:
            return run(standalone_mode=False)
        debug = "--debug" in (sys.argv[1:] if args is None else args)
        try:
            code: Any = run(standalone_mode=False)
        except (Exception, KeyboardInterrupt) as error:
            _leave(error, debug=debug)
        sys.exit(code if isinstance(code, int) else 0)


def _leave(error: BaseException, *, debug: bool) -> NoReturn:
    """Say what went wrong in one line on stderr and end the process."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        sys.exit(USER_ERROR)
    if isinstance(error, click.Abort | KeyboardInterrupt):
        _say("interrupted")
        sys.exit(INTERRUPTED)
    if isinstance(error, click.ClickException):
        _say(f"error: {error.format_message()}")
        sys.exit(error.exit_code)
    if debug:
        click.echo("".join(traceback.format_exception(error)), err=True)
    if isinstance(error, GscnError):
        _say(f"error: {error}")
        sys.exit(USER_ERROR)
    hint = "" if debug else " (--debug shows where)"
    _say(f"internal error: {type(error).__name__}: {error}{hint}")
    sys.exit(INTERNAL_ERROR)


def _say(line: str) -> None:
    click.echo(" ".join(line.split()), err=True)
