"""`catp models`: the policies there are, what is known of one, and fetching one."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catp.cli.options import JsonOption
from catp.cli.output import EXIT_FAILED, console_err, emit_json, emit_text, printable
from catp.training.cli.model_errors import model_errors

if TYPE_CHECKING:
    from catp.training.policy.models import ModelInfo

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List, show and fetch policies.")

_ARCHIVE = re.compile(r"(\.tar\.gz|\.tgz|\.zip)$")


@app.command("list")
def list_(json_: JsonOption = False) -> None:
    """List the policies that came with catp and your own; those that cannot be used say why."""
    from catp.cli.report import columns
    from catp.training.policy.models import DEFAULT, list_models

    found = list_models()
    if json_:
        emit_json("catp.models/1", {"default": DEFAULT, "models": [_summary(one) for one in found]})
        return
    if not found:
        emit_text("no policies are installed; `catp train` makes one, `catp models pull` fetches one")
        return
    rows = [("name", "from", "parameters", "size", "base", "regret", "")]
    for one in found:
        regret = one.figures.get("regret")
        note = one.problem or ("the default" if one.name == DEFAULT else "")
        rows.append((
            one.name, one.origin, "" if one.parameters is None else f"{one.parameters:,}", _size(one.bytes),
            one.base or "", "" if regret is None else f"{regret:.4f}", note,
        ))  # fmt: skip
    emit_text("\n".join(columns(rows, right=(2, 3, 5))))


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME|DIR", help="A policy by name, or its folder.")],
    json_: JsonOption = False,
) -> None:
    """Show what a policy is: its size, its base, what it was trained from and how, and its figures."""
    from catp.cli.report import columns
    from catp.training.policy.models import show_model

    with model_errors():
        found = show_model(name)
    if json_:
        told = None if found.manifest is None else found.manifest.model_dump(mode="json", by_alias=True)
        emit_json("catp.model/1", {**_summary(found), "manifest": told})
    else:
        emit_text("\n".join(columns(_rows(found))))
    if found.problem is not None:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def pull(
    source: Annotated[str, typer.Argument(help="A folder, a .tar.gz or .zip file, or the https address of one.")],
    name: Annotated[str | None, typer.Option(help="What to call it; by default as the file or folder.")] = None,
    sha256: Annotated[str | None, typer.Option(metavar="HEX", help="Of the archive; an address needs it.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a policy of that name.")] = False,
    json_: JsonOption = False,
) -> None:
    """Install a policy among your own. Nothing is unpacked that could run code or leave its folder."""
    from catp.training.policy.pull import pull as fetch

    called = name if name is not None else _ARCHIVE.sub("", Path(source.rstrip("/")).resolve().name)
    console = console_err()
    with model_errors():
        if console.is_terminal:
            with console.status("") as status:
                folder = fetch(
                    source, called, sha256=sha256, replace=replace,
                    progress=lambda got, all_: status.update(
                        f"{_size(got)}{f' of {_size(all_)}' if all_ is not None else ''}"
                    ),
                )  # fmt: skip
        else:
            folder = fetch(source, called, sha256=sha256, replace=replace)
    if json_:
        emit_json("catp.models.pull/1", {"name": called, "folder": folder})
    else:
        emit_text(printable(f"{called}: {folder}"))


def _summary(one: "ModelInfo") -> dict[str, Any]:
    return {
        "name": one.name, "folder": one.folder, "origin": one.origin, "bytes": one.bytes,
        "parameters": one.parameters, "adapter": one.adapter, "base": one.base, "figures": one.figures,
        "problem": one.problem,
    }  # fmt: skip


def _rows(one: "ModelInfo") -> list[tuple[str, str]]:
    rows = [("name", one.name), ("folder", f"{one.folder} ({one.origin})"), ("size", _size(one.bytes))]
    manifest = one.manifest
    if manifest is None:
        return [*rows, ("problem", one.problem or "")]
    base = "none, trained from random weights" if one.base is None else one.base
    data = [f"{name} {digest[:16]}" for name, digest in sorted(manifest.data.items())]
    split = [f"{name} {'+'.join(sides)}" for name, sides in sorted(manifest.split.items())]
    rows += [
        ("parameters", f"{one.parameters:,}{' (an adapter, without its base)' if one.adapter else ''}"),
        ("base", base),
        ("licence", manifest.license or "not told"),
        ("trained", f"{manifest.step:,} steps, {manifest.config.method.name}, seed {manifest.seed}"),
        ("data", ", ".join(data) or "not told"),
        ("split", ", ".join(split) or "not told"),
        ("prices", manifest.price_table or "as the data have them"),
        ("tokens", f"{manifest.tokens.size:,}, {manifest.tokens.tool_slots} tool slots"),
        ("decides", f"kappa {manifest.kappa:g}, margin {manifest.margin:g}"),
        ("made with", ", ".join(f"{name} {version}" for name, version in sorted(manifest.versions.items()))),
        ("configuration", manifest.config_sha256[:16]),
    ]
    rows += [
        (name, "not known" if value is None else f"{value:.4g}") for name, value in sorted(manifest.figures.items())
    ]
    return rows


def _size(bytes_: int) -> str:
    return f"{bytes_ / 2**20:,.1f} MiB"
