"""The loop of an `Interpreter`'s process: a line of JSON asks for a function, a line of JSON answers. See `interpreter`.

Whatever the functions print goes to the process's log.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from typing import Any

_answers = sys.stdout


def tell(value: Any) -> None:
    """Say something to whoever waits for the function that runs now, before it returns."""
    _say({"event": value})


def _say(message: dict[str, Any]) -> None:
    print(json.dumps(message), file=_answers, flush=True)


def main() -> None:
    """Answer until there are no more questions."""
    global _answers  # noqa: PLW0603  # what the process prints by itself must not be taken for answers
    _answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        question = json.loads(line)
        try:
            module, name = question["function"].split(":")
            result = getattr(importlib.import_module(module), name)(**question["arguments"])
        except BaseException:  # the caller raises it, with the story
            _say({"error": traceback.format_exc()})
        else:
            _say({"result": result})
