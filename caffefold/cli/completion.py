"""``caffefold completion``: the script that makes a shell complete commands and options."""

from __future__ import annotations

import click

from caffefold.cli.console import Console
from caffefold.cli.help import Command


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, /, shell: str) -> None:
    """Print what SHELL has to read to complete commands and options of caffefold.

    \b
    Examples:
      eval "$(caffefold completion bash)"                     in ~/.bashrc
      eval "$(caffefold completion zsh)"                      in ~/.zshrc
      caffefold completion fish > ~/.config/fish/completions/caffefold.fish
    """
    from click.shell_completion import get_completion_class

    console: Console = context.find_root().ensure_object(Console)
    found = get_completion_class(shell)
    assert found is not None
    group = context.find_root().command
    console.document(found(group, {}, "caffefold", "_CAFFEFOLD_COMPLETE").source().rstrip("\n"))
