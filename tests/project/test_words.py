"""Words that strangers read alone: each description of a setting and each HELP of a metric names its subject.

The lint is small and honest: it knows a few ways to write a sentence that means nothing without the one before, and no more.
"""

import ast
import re
from pathlib import Path

import pytest
import typer

from crowd_assets.__main__ import app
from crowd_assets.exporters.cli import app as exporting
from crowd_assets.importers.cli import app as importing
from crowd_assets.monitoring import metrics
from resources.settings.fields import limits
from resources.settings.settings import Settings

VAGUE = {
    "a pronoun whose noun stands elsewhere": r"\b(it|they|them|he|she|him|itself|theirs)\b",
    "a sentence that begins with what stands before": r"(?:^|[.:;] )(this|that|these|those|its|their|such|both|there|so|then|otherwise|one of)\b",
    "this or that without a noun": r"\b(this|that|these|those|such|so|the same|the other|there)(?=[.,;:)]|$)",
    "what, in place of a name": r"\b(for|of|on|by|from|than|beside) (what|which it|whatever)\b(?! (a|an|the|each|every|one|points)\b)",
}
HELP = {
    call.args[0].value: call.args[1].value
    for call in ast.walk(ast.parse(Path(metrics.__file__).read_text(encoding="utf-8")))
    if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("Metric", "_one")
    if isinstance(call.args[0], ast.Constant) and isinstance(call.args[1], ast.Constant)
}
SETTINGS = {name: str(field.description) for name, field in Settings.model_fields.items()}


def vague(text: str) -> list[str]:
    """What is vague in a text that is read alone, with the words that are."""
    return [
        f"{why}: {match[0]!r}" for why, pattern in VAGUE.items() for match in re.finditer(pattern, text, re.IGNORECASE)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Below 1 nobody sheds a bad record by taking a new name, except from below that.",
        "2 adds the curvature along the steps and holds the gradients of those who are in them.",
        "Their size.",
        "Since when the oldest of them waits.",
        "From its claim to its settlement. This is long.",
        "Of one that flags labelers these are all their judgements: what others hold of it is replaced.",
        "Lines of them, by what became of them.",
    ],
)
def test_vague_sentences_are_found(text: str) -> None:
    assert vague(text)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_description_of_a_setting_can_be_read_alone(name: str) -> None:
    text = SETTINGS[name]
    assert vague(text) == []
    assert len(text.split()) >= 6
    assert text[0].isupper() or text[0] in "Φβ"
    assert text.endswith(".")
    longest = max(len(sentence.split()) for sentence in re.split(r"[.:;] ", text))
    assert longest <= 45, f"a sentence of {longest} words"


def test_a_setting_that_is_a_number_says_its_range_and_its_unit() -> None:
    for name, field in Settings.model_fields.items():
        if field.annotation in (int, float):
            assert limits(field), name
            assert re.search(
                r"\b(number|share|seconds|minutes|hours|days|bytes|characters|tokens|[mg]ib|credits|points|rate|seed|weight|"
                r"similarity|words|distance|age|confidence|temperature|rank|scale|size|order|β)",
                SETTINGS[name].split(".")[0].split(":")[0],
                re.IGNORECASE,
            ), f"{name} begins with no unit"


@pytest.mark.parametrize("name", HELP)
def test_the_help_of_a_metric_can_be_read_alone(name: str) -> None:
    """It names its subject, and a unit where the name has one."""
    text = HELP[name]
    assert vague(text) == []
    assert len(text.split()) >= 4
    assert re.fullmatch(r"(1 where|[A-Z]).*\.", text)
    assert [unit for unit in ("seconds", "bytes") if f"_{unit}" in name and unit not in text.lower()] == []
    subject = {
        "pending": "event",
        "inbox": "feedback file",
        "ingested": "feedback file",
        "ledger": "ledger",
        "last": "round",
    }
    assert subject.get(name.split("_")[0], "") in text.lower()


def test_every_metric_has_a_help() -> None:
    assert len(HELP) >= 20
    assert "up" in HELP


COMMANDS = {
    f"{group} {name}".strip(): command
    for group, commands in (("", app), ("import", importing), ("exchange", exporting))
    for name, command in typer.main.get_command(commands).commands.items()
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_and_of_its_options_can_be_read_alone(name: str) -> None:
    command = COMMANDS[name]
    texts = {"": command.help, **{str(param.name): getattr(param, "help", None) for param in command.params}}
    assert {option: vague(text) for option, text in texts.items() if text and vague(text)} == {}


DOCS = Path(__file__).parents[2] / "docs"
TERMS = {
    term: (meaning, page)
    for term, meaning, page in re.findall(
        r"^\| \*\*(.+?)\*\* \| (.+?) \| (.+?) \|$", (DOCS / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE
    )
}
PAGES = {
    page: re.sub(r"`[^`\n]*`", " ", page.read_text(encoding="utf-8")).lower()
    for page in [DOCS.parent / "README.md", *DOCS.rglob("*.md")]
    if page.name not in ("glossary.md", "configuration.md", "command_line.md")
}


@pytest.mark.parametrize("term", TERMS)
def test_a_term_of_the_glossary_is_one_sentence_and_the_page_it_names_uses_it(term: str) -> None:
    meaning, link = TERMS[term]
    assert re.fullmatch(r"[A-Z].*[^.]\.", meaning)
    assert ". " not in meaning
    named = re.fullmatch(r"\[.+\]\((.+?)(#.+)?\)", link)
    assert named is not None
    used = rf"\b{re.escape(term.lower())}s?\b"
    assert re.search(used, PAGES[DOCS / named[1]])


def test_the_glossary_has_the_words_of_a_round() -> None:
    asked = {
        "round",
        "lot",
        "slot",
        "epoch",
        "outcome",
        "Φ",
        "provisional",
        "candidate",
        "base",
        "winner",
        "target",
        "award",
    }
    assert asked <= TERMS.keys()
    assert len(TERMS) >= 40
