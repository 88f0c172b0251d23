"""``gscn-sim verify``: values through the machine's own schedule against a direct convolution."""

from __future__ import annotations

import click

from gscn_sim.cli import completion
from gscn_sim.cli.options import DesignOptions, config_options


@click.command()
@click.argument("path", metavar="TRACE", shell_complete=completion.files)
@config_options
@click.option("-q", "--quiet", is_flag=True, help="No table, only the closing line.")
def verify(path: str, design: DesignOptions, quiet: bool) -> None:
    """Check the simulator on TRACE: functional results and every identity, pass or fail."""
    config = design.read()

    import workloads
    from gscn_sim.cli.progress import progress
    from gscn_sim.cli.show import show_frame
    from gscn_sim.run.verify import verify as check

    with progress(quiet) as update:
        checks = check(workloads.load(path), config, progress=update)
    failed = int((~checks["passed"].astype(bool)).sum())
    if not quiet:
        shown = checks.assign(passed=checks["passed"].map({True: "pass", False: "FAIL"}))
        show_frame(f"Checks of {path} on {config.name}", shown)
    click.echo(f"{len(checks) - failed} checks passed, {failed} failed")
    if failed:
        raise SystemExit(1)
