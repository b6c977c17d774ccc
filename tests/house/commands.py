"""`recoup` commands as documents write them, and whether there are such commands and options."""

import re
from collections.abc import Iterator

import click

from recoup_cli.main import cli

COMMAND = re.compile(r"(?:^\s*|`|\$ |&& |(?:run|entry): |- )recoup(?= [a-z-])([^`\n|>;&#]*)", re.MULTILINE)
"""A command of ours at the start of a line or of a code span, in a shell's chain, or as a step of a pipeline."""


def commands_in(text: str) -> Iterator[str]:
    """Yield what follows `recoup`, lines that go on with a backslash joined."""
    for found in COMMAND.finditer(re.sub(r"\\\n\s*", " ", text)):
        yield found[1].strip()


def unknown_in(command: str) -> str | None:
    """Return the first word that the command line doesn't know, a command's name or an option; None: all are known."""
    words = [word.strip("[]().,:'\"") for word in command.split()]
    here: click.Command = cli
    for word in filter(None, words):
        if word.startswith("-") and word != "-":
            if word.partition("=")[0] not in options(here):
                return word
        elif isinstance(here, click.Group):
            if word not in here.commands:
                return word
            here = here.commands[word]
    return None


def options(command: click.Command) -> set[str]:
    """Return every option that a command takes."""
    taken = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    return taken | {"-h", "--help"}
