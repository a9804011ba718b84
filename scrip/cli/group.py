"""How commands are grouped: help when called bare, global options anywhere, plugins, errors on one line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property, wraps
from importlib.metadata import EntryPoint
from inspect import Parameter, signature
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from scrip.cli import plugins
from scrip.cli.context import Context
from scrip.cli.failures import guarded

NAME = "scrip"
GLOBAL_FLAGS = frozenset({"--json"})
GLOBAL_VALUES = frozenset({"--rpc", "--deployment", "--keystore", "--password-file", "--state", "--profile"})

_DRY_RUN = Annotated[
    bool,
    typer.Option("--dry-run", help="Simulate it, show what would be sent and what it costs. Sends nothing."),
]

_Function = TypeVar("_Function", bound=Callable[..., Any])


def sub_app(help_: str, *, example: str) -> typer.Typer:
    """An app for the commands of one noun."""
    return typer.Typer(cls=Group, help=help_, epilog=_example(example), rich_markup_mode="rich")


def command(
    app: typer.Typer, name: str, *, example: str, sends: bool = False
) -> Callable[[_Function], _Function]:
    """Decorator that adds a command. Its help is the docstring, and ends with `example`.

    One that `sends` a transaction, by `scrip.cli.sending.sending`, has a `--dry-run`.
    """

    def add(function: _Function) -> _Function:
        app.command(name, epilog=_example(example))(_rehearsable(function) if sends else function)
        return function

    return add


def _rehearsable(function: Callable[..., None]) -> Callable[..., None]:
    """The command with the option `--dry-run`, which it finds in its context."""

    @wraps(function)
    def run(ctx: typer.Context, *args: Any, dry_run: bool, **options: Any) -> None:
        ctx.obj = replace(Context.of(ctx), dry_run=dry_run)
        function(ctx, *args, **options)

    own = signature(function, eval_str=True)
    option = Parameter("dry_run", Parameter.KEYWORD_ONLY, default=False, annotation=_DRY_RUN)
    run.__signature__ = own.replace(parameters=[*own.parameters.values(), option])  # type: ignore[attr-defined]
    return run


def _example(text: str) -> str:
    return f"Example: {text}"


def hoisted(arguments: Sequence[str]) -> list[str]:
    """The arguments with the global options first, so that `scrip class list --json` works as well."""
    front: list[str] = []
    rest: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        name, given, _ = argument.partition("=")
        if argument == "--":
            rest += [argument, *waiting]
        elif argument in GLOBAL_FLAGS or (given and name in GLOBAL_VALUES):
            front.append(argument)
        elif argument in GLOBAL_VALUES:
            front += [argument, *_next(waiting)]
        else:
            rest.append(argument)
    return front + rest


def _next(waiting: Iterable[str]) -> list[str]:
    for value in waiting:
        return [value]
    return []


class Group(TyperGroup):
    """A group of commands that shows its help when called without one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See Click."""
        return super().parse_args(ctx, args if args or ctx.resilient_parsing else ["--help"])


class Root(Group):
    """The whole command line."""

    @cached_property
    def _plugins(self) -> dict[str, EntryPoint]:
        return {name: point for name, point in plugins.find().items() if name not in self.commands}

    def list_commands(self, ctx: Any) -> list[str]:
        """Our own commands, then the announced ones."""
        return [*super().list_commands(ctx), *sorted(self._plugins)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command, for listing it: an announced one is not loaded for that."""
        own = super().get_command(ctx, cmd_name)
        if own is not None or cmd_name not in self._plugins:
            return own
        return TyperCommand(cmd_name, help=plugins.title(self._plugins[cmd_name]))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command to run; an announced one is loaded now. Raises PluginBroken."""
        if args and args[0] not in self.commands and args[0] in self._plugins:
            return args[0], plugins.load(self._plugins[args[0]]), args[1:]
        return super().resolve_command(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line and exit with its status, or return it if not in `standalone_mode`."""
        self._main_shell_completion(extra, NAME, complete_var)
        given = hoisted(sys.argv[1:] if args is None else args)
        status = guarded(lambda: self._run(given, extra), as_json=_wants_json(given))
        if standalone_mode:
            sys.exit(status)
        return status

    def _run(self, args: list[str], extra: dict[str, Any]) -> None:
        with self.make_context(NAME, args, **extra) as ctx:
            self.invoke(ctx)


def _wants_json(hoisted_arguments: Sequence[str]) -> bool:
    for argument in hoisted_arguments:
        if argument == "--json":
            return True
        if argument == "--":
            return False
    return False
