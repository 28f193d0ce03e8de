"""Groups of commands that name the nearest command after a typing error."""

from __future__ import annotations

import click

from mlpinf_core.names import nearest


class NamedGroup(click.Group):
    """A group of commands below one verb, listed in the order of their making."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The commands' names."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the one that was probably meant."""
        refuse_unknown(self, ctx, args)
        return super().resolve_command(ctx, args)


def refuse_unknown(group: click.Group, ctx: click.Context, args: list[str]) -> None:
    """End with a hint where the first word is no command of the group."""
    known = group.list_commands(ctx)
    if args and args[0] not in known and not args[0].startswith("-"):
        guess = nearest(args[0], known)
        hint = f"Did you mean {guess!r}?" if guess else f"Commands: {', '.join(known)}."
        raise click.UsageError(f"No such command {args[0]!r}. {hint}", ctx)
