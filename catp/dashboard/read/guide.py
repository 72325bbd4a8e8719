"""The first steps that an empty store shows: commands to copy whose runs appear in that very store."""

import shlex

from catp.config import Settings

__all__ = ["first_steps"]

_TASK, _TEXT = "tell me the language", "Guten Tag, wie geht es dir heute?"


def first_steps(store: str) -> list[dict[str, str]]:
    """Return `{title, text}` of each step for a store of this name: the path of a file, or a URL without its password.

    Commands name the store unless it is the one that they use by themselves. An agent saves nothing unless told where.
    """
    option = "" if store == str(Settings().store) else f" --store {shlex.quote(store)}"
    agent = (
        f"from catp import Agent\n\nagent = Agent(budget='0.01', store={store!r})\n"
        f"result = agent.run_sync({_TASK!r}, {{'text': {_TEXT!r}}})\nprint(result.outputs)"
    )
    return [
        {"title": "Install the tools", "text": "pip install 'catp[tools]'"},
        {"title": "Run a task", "text": f'catp run "{_TASK}" -i text="{_TEXT}"{option}'},
        {"title": "Or use your own agent", "text": agent},
    ]
