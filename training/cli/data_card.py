"""`catp data card FOLDER`: compute a data set's figures and pictures, and put them into its README."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catp.cli.options import JsonOption
from catp.cli.output import EXIT_USAGE, console_err, emit_json, emit_text, fail, printable, write_atomic
from catp.planlang.money import Money, parse_usd

if TYPE_CHECKING:
    from catp.training.data.card import Card
    from catp.training.data.card_blocks import Figures

__all__ = ["card"]


def card(
    folder: Annotated[Path, typer.Argument(help="The folder of a data set.", show_default=False)],
    price_scale: Annotated[
        str | None,
        typer.Option(metavar="USD", help="The price that weighs as much as score 1, for records that name none."),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Write or refresh FOLDER/README.md and FOLDER/card/*.svg from the files of trajectories in FOLDER.

    What people wrote in the README is kept; what stands between `<!-- figures:NAME -->` and `<!-- end -->` is computed
    anew. A README that is not there yet gets all headings, with a TODO wherever somebody must write.
    """
    from catp.tools.errors import ToolUnavailable
    from catp.training.data.card_data import CardError

    if not folder.is_dir():
        fail(f"{str(folder)!r} is no folder", EXIT_USAGE, help="name the folder that the files of trajectories are in")
    try:
        figures, written, filled = _refresh(folder, _money(price_scale))
    except CardError as error:
        fail(str(error), EXIT_USAGE)
    except (ToolUnavailable, ValueError) as error:  # DataError, a broken toolset, sets in pieces
        fail(str(error), help="name one with --price-scale" if "price_scale" in str(error) else None)
    except OSError as error:
        fail(f"cannot read {error.filename or str(folder)!r}: {error.strerror or error}", EXIT_USAGE)
    if json_:
        emit_json("catp.data-card/1", {
            "folder": folder, "written": written, "todo": filled.todo, "missing_blocks": filled.missing,
            "figures": figures,
        })  # fmt: skip
    else:
        emit_text("\n".join(f"wrote {name}" for name in written))
        _say(filled)


def _refresh(folder: Path, price_scale: Money | None) -> "tuple[Figures, list[Path], Card]":
    from catp.training.cli.counting import counting
    from catp.training.data.card import filled, skeleton
    from catp.training.data.card_blocks import blocks, figures_of
    from catp.training.data.card_data import gather, toolset_of
    from catp.training.data.card_pictures import PICTURES, pictures

    tools = toolset_of(folder)
    with counting("read") as progress:
        found = gather(folder, price_scale=price_scale, progress=progress)
    figures = figures_of(found.sets, found.tally, tools, found.extracts)
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.exists() else skeleton(folder.resolve().name, figures)
    filled(text, blocks(figures), figures.counts)  # a README that cannot be filled is found before anything is drawn
    drawn = pictures(found.sets, figures)
    card_ = filled(text, blocks(figures, drawn), figures.counts)
    (folder / "card").mkdir(exist_ok=True)
    written = [readme]
    for name in PICTURES:
        path = folder / "card" / f"{name}.svg"
        if name in drawn:
            write_atomic(path, drawn[name].decode("utf-8"))
            written.append(path)
        else:
            path.unlink(missing_ok=True)  # from data that no longer show it
    write_atomic(readme, card_.text)
    return figures, written, card_


def _money(text: str | None) -> Money | None:
    if text is None:
        return None
    try:
        amount = parse_usd(text)
    except ValueError as error:
        fail(f"--price-scale {text!r}: {error}", EXIT_USAGE, help="write US dollars, such as 0.002")
    if amount <= 0:
        fail(f"--price-scale {text!r} must be above 0", EXIT_USAGE)
    return amount


def _say(filled: "Card") -> None:
    """Say on stderr what somebody must still write."""
    err = console_err()
    if filled.todo:
        err.print(f"TODO, to be written by you: {printable(', '.join(filled.todo))}", markup=False)
    for name in filled.missing:
        marks = f"<!-- figures:{name} --> and <!-- end -->"
        err.print(f"README.md has no place for the figures {name!r}: write {marks} where they belong", markup=False)
