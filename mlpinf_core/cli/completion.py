"""``mlpinf completion``."""

from __future__ import annotations

import click


@click.command(
    "completion",
    epilog="\b\nExamples:\n"
    '  eval "$(mlpinf completion bash)"\n'
    "  mlpinf completion fish > ~/.config/fish/completions/mlpinf.fish",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print the set-up of a shell's completion."""
    from click.shell_completion import get_completion_class

    from mlpinf_core.cli import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"there is no completion for {shell}")
    click.echo(kind(cli, {}, "mlpinf", "_MLPINF_COMPLETE").source())
