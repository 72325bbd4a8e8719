"""Inputs as they come in a body: text, any JSON value, or a file in base64 with its media type.

{"page": {"base64": "iVBOR…", "mime": "image/png"}, "question": {"text": "What is it?"}, "limit": {"json": 5}}
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from catp.dashboard.problems import Problem
from catp.inputs import InputError, decode_image

__all__ = ["MOST_BYTES", "Given", "fingerprint", "values_of"]

MOST_BYTES = 20 * 1024 * 1024
"""Of all inputs of one request together, decoded."""


class Given(BaseModel):
    """One input: exactly one of `text`, `json` and `base64`.

    `mime` says what `base64` is, unless that is a `data:` URL, which says it itself; a `text` of `application/json` is
    read as JSON.
    """

    model_config = ConfigDict(extra="forbid")

    text: str | None = None
    json_: Any = Field(None, alias="json")
    base64: str | None = None
    mime: str = ""

    @property
    def told(self) -> int:
        """How many of the three are there; `null` is a JSON value."""
        return (self.text is not None) + (self.base64 is not None) + ("json_" in self.model_fields_set)


def values_of(inputs: Mapping[str, Given]) -> dict[str, Any]:
    """Return the values: images and files decoded, text and JSON as they are.

    Raises:
        Problem: 422 that names the input and what is wrong with it.
    """
    room = MOST_BYTES
    values: dict[str, Any] = {}
    for name, given in inputs.items():
        if not name.isidentifier():
            raise _wrong(name[:60], "the name of an input is a word such as `page`")
        values[name], size = _value(name, given)
        room -= size
        if room < 0:
            raise _wrong(name, f"all inputs together may have {MOST_BYTES // 2**20} MB; use `catp run` for more")
    return values


def fingerprint(inputs: Mapping[str, Given]) -> str:
    """Return a digest of the inputs: equal ones have the same."""
    found = hashlib.sha256()
    for name in sorted(inputs):
        found.update(f"{name}={inputs[name].model_dump_json()}\n".encode(errors="surrogatepass"))
    return found.hexdigest()


def _value(name: str, given: Given) -> tuple[Any, int]:
    if given.told != 1:
        raise _wrong(name, "give one of text, json and base64")
    if given.text is not None:
        return _text(name, given), len(given.text.encode(errors="surrogatepass"))
    if given.base64 is None:
        return given.json_, len(given.model_dump_json())
    mime, code = given.mime, given.base64
    if code.startswith("data:"):
        head, _, code = code.partition(",")
        mime = head.removeprefix("data:").removesuffix(";base64")
    if len(code) > MOST_BYTES * 4 // 3 + 4:
        raise _wrong(name, f"it has more than {MOST_BYTES // 2**20} MB; use `catp run` for more")
    try:
        data = base64.b64decode(code, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _wrong(name, f"base64 cannot be decoded: {error}") from None
    if not data:
        raise _wrong(name, "the file is empty")
    return _decoded(name, data, mime), len(data)


def _text(name: str, given: Given) -> Any:
    if given.mime != "application/json":
        return given.text
    try:
        return json.loads(given.text or "")
    except ValueError as error:
        raise _wrong(name, f"it is not JSON: {error}") from None


def _decoded(name: str, data: bytes, mime: str) -> Any:
    if mime.startswith("image/"):
        try:
            return decode_image(BytesIO(data), name, f"the {mime} of the request")
        except InputError as error:
            raise _wrong(name, str(error).removeprefix(f"input {name}: ")) from None
    if not mime.startswith("text/"):
        return data
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise _wrong(name, f"it says {mime}, and is not UTF-8 text") from None


def _wrong(name: str, why: str) -> Problem:
    return Problem(422, "input", f"inputs.{name}: {why}")
