"""The ``resprop-train`` command."""

import click


@click.command()
def main() -> None:
    """Train a network with ReSprop and record its sparse gradients."""
