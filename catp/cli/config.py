"""`catp config show`: every setting, its value and where it came from."""

import typer

from catp.cli.again import remember, without_password
from catp.cli.options import JsonOption
from catp.cli.output import EXIT_USAGE, emit_json, emit_text, fail
from catp.config import ConfigError, Settings, load_settings
from catp.planlang.money import format_usd

__all__ = ["app", "settings_or_fail"]

app = typer.Typer(no_args_is_help=True)


@app.callback()
def group() -> None:
    """Show settings and where each one comes from."""


@app.command()
def show(json_: JsonOption = False) -> None:
    """Show every setting with its source: flag, CATP_* variable, catp.toml, pyproject.toml, user file or default."""
    settings = settings_or_fail()
    rows = {key: (_shown(settings, key), source) for key, source in settings.sources.items()}
    if json_:
        emit_json("catp.config/1", {"settings": {k: {"value": v, "source": s} for k, (v, s) in rows.items()}})
        return
    width = max(len(value or "-") for value, _ in rows.values())
    emit_text("\n".join(f"{key:13} {value or '-':{width}}  {source}" for key, (value, source) in rows.items()))


def settings_or_fail(**flags: object) -> Settings:
    """Load the settings; a bad one ends the command with exit code 2."""
    remember(flags)
    try:
        return load_settings(flags)
    except ConfigError as error:
        fail(str(error), EXIT_USAGE)


def _shown(settings: Settings, key: str) -> str | None:
    value = getattr(settings, key)
    if value is None:
        return None
    if key == "store":
        return without_password(str(value))
    return format_usd(value) if key in ("budget", "assume_price") else str(value)
