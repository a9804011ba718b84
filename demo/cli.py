"""`scrip demo`: Scrip shown on a chain of its own, with nothing left behind."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    help="Show Scrip on a local chain: contracts, a provider, two watchers, a job paid for by its receipt.",
    rich_markup_mode="rich",
)


@app.callback(invoke_without_command=True, epilog="Example: scrip demo")
def demo(
    whole: Annotated[
        bool,
        typer.Option(
            "--all",
            help="The whole story, fraud too. Needs gcc and the extra llm with its model.",
        ),
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running and print how to use it.")] = False,
) -> None:
    """Start a chain (anvil), deploy, start a provider and two watchers, buy, have work done, settle."""
    from demo import story

    raise typer.Exit(story.main(short=not whole, keep=keep))


if __name__ == "__main__":
    app()
