"""The command line: one verb per file of this folder, found by its name.

A verb's file defines a function of the file's name, EXAMPLE (shown below its help) and PANEL (one of PANELS,
its place in `accelsim --help`). Files whose names start with an underscore are not verbs. Verbs import what costs time
inside their function, so that `accelsim --help` stays quick.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer
from accelsim_kernels.settings import SettingError

from accelsim.errors import AccelsimError
from accelsim.extras import installing

#: groups of verbs in `accelsim --help`
PANELS = ("Simulate and price", "Verify arithmetic", "Exchange", "Look up")
#: wrong use, bad input (typer's own usage errors exit with it, too)
WRONG_USE = 2
#: an error that is ours, not the user's
DEFECT = 3


def build() -> typer.Typer:
    """The application with every verb of this folder."""
    app = typer.Typer(
        name="accelsim",
        help="Run a quantized network bit for bit as an accelerator would, and price it.",
        epilog="Exit status: 0 good, 1 differs, 2 wrong use, 3 a defect of accelsim.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
    )
    app.callback()(_common)
    names = [found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_")]
    verbs = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    for name in sorted(names, key=lambda name: (PANELS.index(verbs[name].PANEL), name)):
        verb = verbs[name]
        epilog = f"Example: [bold]{verb.EXAMPLE}[/bold]"
        app.command(name, epilog=epilog, rich_help_panel=verb.PANEL)(getattr(verb, name))
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        from accelsim import __version__

        print(f"accelsim {__version__}")
        raise typer.Exit


def _common(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of any error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    context.obj["debug"] = debug


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 good, 1 differs, 2 wrong use or bad input, 3 a defect of accelsim."""
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    state = {"debug": False}
    try:
        build()(args=arguments, prog_name="accelsim", obj=state)
    except (AccelsimError, SettingError) as error:
        _fail(f"error: {error}", WRONG_USE, state["debug"])
    except ModuleNotFoundError as error:
        command = installing(error.name or "")
        hint = f"; install it with: {command}" if command else ""
        _fail(f"error: {error}{hint}", WRONG_USE if command else DEFECT, state["debug"])
    except Exception as error:
        text = f"internal error: {type(error).__name__}: {error}\nRun `accelsim --debug …` to see where."
        _fail(text, DEFECT, state["debug"])
    sys.exit(0)


def _fail(text: str, status: int, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    print(text, file=sys.stderr)
    sys.exit(status)
