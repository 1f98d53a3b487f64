"""Groups of commands that know what was meant."""

from __future__ import annotations

from difflib import get_close_matches

import click


class Commands(click.Group):
    """A group that names the nearest command where one is not known."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, but for the hint."""
        known = self.list_commands(ctx)
        if args and self.get_command(ctx, args[0]) is None and (near := get_close_matches(args[0], known, n=1)):
            ctx.fail(f"No such command '{args[0]}'. Did you mean '{near[0]}'?")
        return super().resolve_command(ctx, args)
