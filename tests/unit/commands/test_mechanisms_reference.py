"""Examples of the mechanisms run, and the page has them."""

import doctest
from pathlib import Path

import pytest

from crowd_assets.commands.mechanisms_reference import example, functions, modules, page

PAGE = Path(__file__).resolve().parents[3] / "docs" / "mechanisms" / "api.md"
MODULES = {module.__name__.removeprefix("crowd_assets.mechanisms."): module for module in modules()}


@pytest.mark.parametrize("name", MODULES)
def test_every_example_gives_what_it_says(name: str) -> None:
    found = doctest.testmod(MODULES[name])
    assert found.failed == 0


def test_every_public_function_has_an_example() -> None:
    without = [
        f"{name}.{each}"
        for name, module in MODULES.items()
        for each, function in functions(module).items()
        if not example(function)
    ]
    assert without == []


def test_the_page_is_that_of_the_docstrings() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "python -m crowd_assets.commands.mechanisms_reference > docs/mechanisms/api.md"
    )
