"""The ``gscn-sim`` command."""

import click


@click.group()
def main() -> None:
    """Simulate GSCN on traces of sparse training."""
