"""The command `dubline weights`."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from pipeline.estimate import readable_size
from pipeline.terminal import err, out, stop
from pipeline.transfer import Transfer
from stages.errors import DubError
from stages.weights import BUNDLES, REGISTRY, Held, Weights, members

weights_app = typer.Typer(no_args_is_help=True, help="Model weights: what there is, fetch it, check it.")
WeightsDir = Annotated[str | None, typer.Option("--weights-dir", help="Folder of weights; else $DUBLINE_WEIGHTS.")]


@weights_app.command("list")
def list_weights(weights_dir: WeightsDir = None) -> None:
    """Every file dubline knows by name, whether it is here, and its licence; then what is fetched together."""
    table = Table("name", "file", "here", "MB", "commercial", "licence")
    held = Weights(weights_dir).list()
    for each in held:
        weight, size = each.weight, f"{each.weight.size / 1e6:.1f}" if each.weight.size else "?"
        here = "yes" if each.found else "no"
        table.add_row(weight.name, weight.file, here, size, weight.commercial_use, weight.licence)
    out.print(table)
    _print_bundles(held)


@weights_app.command("fetch")
def fetch_weights(
    names: Annotated[list[str], typer.Argument(help="Names of `dubline weights list`.")],
    url: Annotated[str | None, typer.Option(help="Another place to fetch one file from.")] = None,
    weights_dir: WeightsDir = None,
) -> None:
    """Fetch weights: resumes, checks the sha256, publishes whole or not at all.

    What cannot be had is named, and does not keep the rest from being fetched.

    Examples:

        dubline weights fetch yunet

        dubline weights fetch musetalk-1.5
    """
    wanted = _members(names)
    if url is not None and len(wanted) > 1:
        raise typer.BadParameter("is the place of one file, and these are several", param_hint="--url")
    failed = False
    for name in wanted:
        try:
            with Transfer(name, out) as transfer:
                path = Weights(weights_dir).fetch(name, url, transfer.tell)
        except DubError as error:
            failed = True
            err.print(f"dubline: {error}")
        else:
            out.print(f"{name}: {path}")
    raise typer.Exit(1 if failed else 0)


@weights_app.command("verify")
def verify_weights(
    names: Annotated[list[str] | None, typer.Argument(help="Default: every file that is here.")] = None,
    weights_dir: WeightsDir = None,
) -> None:
    """Check the sha256 of files that are here."""
    weights = Weights(weights_dir)
    wrong = False
    for name in _members(names) if names else [held.weight.name for held in weights.list() if held.found]:
        try:
            path = weights.verify(name)
        except DubError as error:
            wrong = True
            out.print(f"MISS {name}: {error}")
        else:
            out.print(f"ok   {name}: {path}{'' if REGISTRY[name].sha256 else ' (nobody has published its sha256)'}")
    raise typer.Exit(1 if wrong else 0)


def _members(names: Sequence[str]) -> list[str]:
    """Names of files, each once, for names of files and of bundles."""
    try:
        return list(dict.fromkeys(member for name in names for member in members(name)))
    except DubError as error:
        stop(error)


def _print_bundles(held: Sequence[Held]) -> None:
    """Which bundles of weights are whole."""
    by_name = {each.weight.name: each for each in held}
    for name, names in BUNDLES.items():
        missing = [each for each in names if not by_name[each].found]
        sizes = [by_name[each].weight.size for each in names]
        size = readable_size(sum(size or 0 for size in sizes)) + (" and more" if None in sizes else "")
        which = "nothing here" if len(missing) == len(names) else f"missing {', '.join(missing)}"
        told = f"{which}: dubline weights fetch {name}" if missing else "all here"
        out.print(f"{name} ({len(names)} files, {size}): {told}")
