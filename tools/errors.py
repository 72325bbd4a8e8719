"""How a tool call can fail.

ToolError
├─ ToolFailed        the tool raised; `.error_type` and `.message` are its own
│  └─ WrongResult    it returned something its signature does not promise
├─ ToolTimeout       it took longer than allowed and was stopped
├─ ToolCrashed       its process died
├─ ToolUnavailable   what it needs is not installed here
└─ ResultTooLarge    it returned more than the caller accepts

Mistakes in a definition or a file, raised before anything is called:

ToolDefinitionError   a function that cannot become a tool
CatalogueError        tools that cannot live in one catalogue
PriceModelError       a price model with impossible numbers, or one that raised or returned nonsense
ProfileError          a profile file that cannot be read
"""

from typing import Any, Literal, TypeAlias

from catp.tools.usage import Usage

__all__ = [
    "Billing",
    "CatalogueError",
    "PriceModelError",
    "ProfileError",
    "ResultTooLarge",
    "ToolCrashed",
    "ToolDefinitionError",
    "ToolError",
    "ToolFailed",
    "ToolTimeout",
    "ToolUnavailable",
    "WrongResult",
]


Billing: TypeAlias = Literal["used", "unknown", "nothing"]
"""What a failed call costs: what it used; whatever the provider decides, which it did not say; or nothing at all."""


class ToolError(Exception):
    """A call that gave no usable result. `usage` is what it had used, so that a failure is still paid for.

    `billing` is `used`, unless somebody else is paid: `nothing` if they never got the request, `unknown` if they got it
    and did not answer it.
    """

    def __init__(
        self, tool: str, message: str, *, usage: Usage | None = None, error_type: str | None = None,
        billing: Billing = "used",
    ) -> None:  # fmt: skip
        super().__init__(f"{tool}: {message}")
        self.tool = tool
        self.message = message
        self.usage = usage if usage is not None else Usage()
        self.error_type = error_type or type(self).__name__
        self.billing = billing

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.tool, self.message, self.usage, self.error_type, self.billing)


class ToolFailed(ToolError):
    """The tool raised an exception of its own."""


class WrongResult(ToolFailed):
    """The tool returned a value that does not fit its signature."""


class ToolTimeout(ToolError):
    """The call took longer than it was allowed and was stopped."""


class ToolCrashed(ToolError):
    """The process that ran the call died."""


class ToolUnavailable(ToolError):
    """The tool cannot run on this machine; the message says what is missing."""


class ResultTooLarge(ToolError):
    """The result is larger than the caller accepts."""


class ToolDefinitionError(TypeError):
    """A function cannot become a tool; the message names the function, the parameter and the fix."""


class CatalogueError(ValueError):
    """Tools that cannot live in one catalogue: a name used twice, types that clash."""


class PriceModelError(ValueError):
    """A price model was given impossible numbers, or a custom one raised or returned something that is no price."""


class ProfileError(ValueError):
    """A profile file is missing, corrupt or of another version; the message names the file and what to do."""


def _rebuild(
    kind: type[ToolError], tool: str, message: str, usage: Usage, error_type: str, billing: Billing
) -> ToolError:
    return kind(tool, message, usage=usage, error_type=error_type, billing=billing)
