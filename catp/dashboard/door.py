"""What a browser shows whoever has no session: why, and a field for a token. Without a script, a style or an image."""

from collections.abc import Mapping
from html import escape

from catp.dashboard.problems import Problem

__all__ = ["asks_for_page", "door"]

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>CATP: a token is needed</title>
<main style="font: 1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 12vh auto; padding: 0 1rem">
<h1>A token is needed</h1>
<p role="alert">{reason}</p>
<form>
<p><label>Token<br><input name="token" type="password" autocomplete="current-password" required autofocus
style="font: inherit; width: 100%; box-sizing: border-box; padding: .4rem"></label></p>
<p><button style="font: inherit; padding: .4rem 1rem">Open the dashboard</button></p>
</form>
<p>Who started the dashboard has one: it was given with <code>--token</code>, <code>--viewer-token</code>,
<code>--operator-token</code> or <code>--tokens</code>, or was printed with the address when it started.</p>
</main>
</html>
"""


def asks_for_page(method: str, headers: Mapping[str, str]) -> bool:
    """True if a person is looking: a browser asks for a page, not a program for data."""
    return method == "GET" and "text/html" in headers.get("accept", "")


def door(problem: Problem) -> bytes:
    """Return the page. Its form comes back to the same address with `?token=`, which becomes a cookie there."""
    return _PAGE.format(reason=escape(str(problem))).encode()
