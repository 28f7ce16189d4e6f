"""The page of the mechanisms' functions, ``docs/mechanisms/api.md``: what each does in a sentence, and an example that runs.

    python -m crowd_assets.commands.mechanisms_reference > docs/mechanisms/api.md

Belongs here: that page. Does not belong here: examples (they are in the docstrings, and the tests run them).
"""

import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from crowd_assets import mechanisms

HEAD = """# Functions of the mechanisms

Written by `python -m crowd_assets.commands.mechanisms_reference` from the docstrings, which have arguments, ranges, guarantees and sources.
Each function is pure: numpy arrays in, arrays out, and randomness only by a generator that the caller passes. The tests run every example.
"""


def modules() -> Iterator[ModuleType]:
    """Every module of ``crowd_assets.mechanisms`` with a function that others call, by name."""
    for found in sorted(
        pkgutil.walk_packages(mechanisms.__path__, f"{mechanisms.__name__}."), key=lambda each: each.name
    ):
        module = importlib.import_module(found.name)
        if functions(module):
            yield module


def functions(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """Its own public functions, in the order of the source."""
    return {
        name: each
        for name, each in vars(module).items()
        if inspect.isfunction(each) and each.__module__ == module.__name__ and not name.startswith("_")
    }


def example(function: Callable[..., Any]) -> str:
    """The example of a function's docstring; empty where there is none."""
    found = doctest.DocTestParser().get_examples(inspect.getdoc(function) or "")
    return "".join(
        f">>> {each.source}" + each.want if "\n" not in each.source[:-1] else each.source + each.want for each in found
    )


def page() -> str:
    """The page as Markdown."""
    parts = [HEAD]
    for module in modules():
        shown = {name: code for name, each in functions(module).items() if (code := example(each))}
        if not shown:
            continue
        parts.append(f"\n## {module.__name__.removeprefix('crowd_assets.mechanisms.')}\n")
        for name, code in shown.items():
            said = (inspect.getdoc(functions(module)[name]) or "").split("\n\n")[0].replace("\n", " ")
            parts.append(f"\n### {name}\n\n{said}\n\n```text\n{code}```\n")
    return "".join(parts)


if __name__ == "__main__":
    print(page(), end="")
