"""Values of a run as the reducer asks for them: guards, widths and `else` values read; results bound, and journaled."""

from typing import Any

from catp.runtime.commands import Prepare
from catp.runtime.observers import Observers
from catp.runtime.rebind import new_values, rebind, rebind_elements
from catp.runtime.restore import Restored
from catp.runtime.state import StepRun
from catp.runtime.values import Missing, Values

__all__ = ["JournaledValues"]


class JournaledValues:
    """The values of one run on their way in: each is kept before the event that announces it is told.

    Args:
        values: Where they are bound.
        observers: Told of every new one.
        past: An earlier life of the run, whose values are not new.
    """

    def __init__(self, values: Values, observers: Observers, past: Restored | None) -> None:
        self._values = values
        self._observers = observers
        self._past = {} if past is None else dict(past.steps)

    def restore(self, past: Restored) -> None:
        """Bind what an earlier life of the run has got; the elements of open maps follow when they open again."""
        rebind(self._values, past)
        for name, element, value in new_values(past):
            self._observers.keep("step", name, element, value)

    def answer(self, command: Prepare, step: StepRun) -> tuple[bool, int, str | None]:
        """Answer what the reducer asks about a step: yes or no, the width of a map, why there is no answer."""
        info = step.info
        try:
            if command.question == "guard":
                return self._values.holds(info.guard), 0, None
            if command.question == "width":
                return True, self._open_map(info.name, command.attempt, step), None
            assert info.otherwise is not None
            self.bind(info.name, None, self._values.read(info.otherwise))
        except Missing as error:
            return False, 0, str(error)
        return True, 0, None

    def _open_map(self, name: str, attempt: int, step: StepRun) -> int:
        width = self._values.width(name, attempt, step.info.attempts[attempt])
        self._values.open_map(name, width)
        if name in self._past:
            rebind_elements(self._values, name, self._past.pop(name), width)
        return width

    def bind(self, name: str, element: int | None, value: Any) -> None:
        """Give a step, or one element of a mapped step, its result."""
        self._observers.keep("step", name, element, value)
        if element is None:
            self._values.bind(name, value)
        else:
            self._values.bind_element(name, element, value)

    def reset(self, name: str) -> None:
        """Forget what there is of a step: another plan has another step of that name."""
        self._values.reset(name)
        self._past.pop(name, None)
