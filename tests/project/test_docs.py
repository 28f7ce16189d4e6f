"""The documentation says what is so: links lead somewhere, code blocks run, commands, options, targets and settings exist."""

import ast
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import typer
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from crowd_assets.__main__ import app
from crowd_assets.exporters.cli import app as exporting
from crowd_assets.importers.cli import app as importing
from docs import plots
from resources.feedback.events import KINDS, Limits, parse_event
from resources.settings.fields import ENVIRONMENT_PREFIX, NOT_SETTINGS
from resources.settings.resource import CrowdSettings
from resources.warehouse.duckdb import DuckDBWarehouse
from tests import PROJECT

DOCS = PROJECT / "docs"
PAGES = [PROJECT / "README.md", *sorted(DOCS.rglob("*.md"))]
IDS = [str(page.relative_to(PROJECT)) for page in PAGES]

# Blocks that are not run, by their first line, and why.
NOT_RUN = {
    'dataset.records.to_json("records.json")  # or: json.dump(dataset.records.to_list(flatten=False), file)': "Argilla",
    "from transformers import pipeline": "reads an export of yours; tests of exports load what a round exported",
    "import argilla as rg": "needs an Argilla server; tests/exports has what it wrote",
}
# Programs of others in blocks of commands.
OTHERS = {
    ".venv/bin/ruff",
    "cd",
    "cp",
    "curl",
    "docker",
    "git",
    "helm",
    "kubectl",
    "label-studio/bin/label-studio",
    "pg_dump",
    "printf",
    "python3",
    "sh",
}
OTHERS |= {"ollama", "systemctl", "vllm"}
SHELL = re.compile(r"(make|python|crowd-rounds|export|\.venv/bin/\w+|CROWD_\w+=)\b|CROWD_\w+=")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language (empty: none said) and its text."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(PROJECT)}:{self.line}"


@cache
def tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def blocks(page: Path) -> list[Block]:
    return [
        Block(page, token.map[0] + 1 if token.map else 0, token.info.strip(), token.content)
        for token in tokens(page)
        if token.type == "fence"
    ]


ALL_BLOCKS = [block for page in PAGES for block in blocks(page)]


def of_language(*languages: str) -> list[Block]:
    return [block for block in ALL_BLOCKS if block.language in languages]


def command_blocks() -> list[Block]:
    return [
        block
        for block in ALL_BLOCKS
        if block.language == "sh" or (not block.language and SHELL.match(block.text.lstrip()))
    ]


# Links


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them and ``mkdocs.yml`` asks for."""
    found: dict[str, int] = {}
    names = set()
    for heading, inline in zip(tokens(page), tokens(page)[1:], strict=False):
        if heading.type == "heading_open":
            text = "".join(child.content for child in inline.children or [])
            slug = re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-")
            names.add(slug if slug not in found else f"{slug}-{found[slug]}")
            found[slug] = found.get(slug, 0) + 1
    return names


def links(page: Path) -> Iterator[str]:
    for token in tokens(page):
        for child in token.children or []:
            if child.type in ("link_open", "image"):
                yield unquote(str(child.attrs["href" if child.type == "link_open" else "src"]))


def broken(page: Path) -> list[str]:
    """Relative links of a page that lead nowhere."""
    found = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
        elif page.is_relative_to(DOCS) and not target.is_relative_to(DOCS):
            found.append(f"{link} (outside of docs: the site has no such page)")
    return found


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_and_anchors_lead_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n\n[a](#one) [b](#two) [c](other.md) [d](page.md#one) ![e](e.png) [f](https://example.org)\n"
    )
    assert broken(page) == ["#two", "other.md", "e.png"]


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page() -> None:
    def paths(entry: Any) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        else:
            for each in entry.values() if isinstance(entry, dict) else entry:
                yield from paths(each)

    class Loader(yaml.SafeLoader):
        """YAML whose references to Python objects stay unread."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)
    navigation = yaml.load((PROJECT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)["nav"]
    assert sorted(paths(navigation)) == sorted(str(page.relative_to(DOCS)) for page in PAGES[1:])


# Blocks


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "tutorial.md"], ids=lambda page: page.name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, as a reader would; those of the tutorial run in tests/assets/test_tutorial.py."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language == "python" and block.text.splitlines()[0] not in NOT_RUN:
            exec(compile(block.text, str(block), "exec"), names)


def test_what_is_not_run_is_there() -> None:
    assert set(NOT_RUN) == {block.text.splitlines()[0] for block in of_language("python")} & set(NOT_RUN)


@pytest.mark.parametrize("block", of_language("json"), ids=str)
def test_feedback_lines_are_feedback(block: Block) -> None:
    for line in block.text.splitlines():
        record = json.loads(line)
        if record.get("kind") in KINDS:
            assert parse_event(record, Limits(line_bytes=10_000, text_characters=1_000))


@pytest.mark.parametrize("block", of_language("yaml", "toml"), ids=str)
def test_configuration_can_be_read(block: Block) -> None:
    read = yaml.safe_load if block.language == "yaml" else tomllib.loads
    content = read(block.text)
    assert isinstance(content, dict)
    launched = content.get("resources", {}).get("settings", {}).get("config", {})
    assert set(launched) <= set(CrowdSettings.model_fields)


@pytest.mark.parametrize("block", [block for block in ALL_BLOCKS if block.text.startswith("SELECT")], ids=str)
def test_queries_fit_the_tables(block: Block, tmp_path: Path) -> None:
    assert DuckDBWarehouse(path=str(tmp_path / "warehouse.duckdb")).query(block.text).width


# Commands


def makefile() -> str:
    return (PROJECT / "Makefile").read_text(encoding="utf-8")


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z0-9-]*):", makefile(), flags=re.MULTILINE))


def make_variables() -> set[str]:
    return set(re.findall(r"^([A-Z_]+) \??[:?]?= ?", makefile(), flags=re.MULTILINE)) | set(
        re.findall(r"\$\((?:or \$\(|if \$\()?([A-Z_]+)\b", makefile())
    )


def variables() -> set[str]:
    return {f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in CrowdSettings.model_fields} | NOT_SETTINGS


def module_options(module: str) -> set[str]:
    spec = find_spec(module)
    assert spec is not None, module
    assert spec.origin is not None
    source = Path(spec.origin).read_text(encoding="utf-8")
    found = set(re.findall(r'"(--[a-z-]+)"', source))
    for call in re.findall(r"\boptions\(__doc__, argv(.*?)\)\n", source, flags=re.DOTALL):  # of benchmarks
        found |= {"--quick", "--seed", *(f"--{name}" for name in re.findall(r"(\w+)=\(", call))}
    return found


def wrong_in_command(words: list[str]) -> str | None:
    """What is wrong with the words after ``crowd-rounds``, if anything."""
    group, rest = app, words
    if words[:1] in (["import"], ["exchange"]):
        group, rest = {"import": importing, "exchange": exporting}[words[0]], words[1:]
    commands = typer.main.get_command(group)
    assert isinstance(commands, typer.core.TyperGroup)
    if not rest or rest[0].isupper() or rest[0] == "COMMAND" or rest[0].startswith("-"):
        return None  # a placeholder, or help of the whole
    if rest[0] not in commands.commands:
        return f"no command {rest[0]}"
    known = {option for param in commands.commands[rest[0]].params for option in param.opts} | {"--help"}
    unknown = [word for word in rest[1:] if word.startswith("-") and word not in known]
    return f"{rest[0]} takes no {unknown}" if unknown else None


def wrong_in_line(line: str) -> str | None:
    """What is wrong with a line of shell, if anything."""
    crontab = r"[0-9*/]+( [0-9*/]+){4} +"
    words = shlex.split(re.sub(f"^{crontab}", "", line), comments=True)
    while words and (words[0] == "export" or re.match(r"[A-Z_]+=", words[0])):
        name = words.pop(0).partition("=")[0]
        if name.startswith(ENVIRONMENT_PREFIX) and name not in variables():
            return f"no setting {name}"
    if not words:
        return None
    program, arguments = words[0], words[1:]
    if program == "make":
        called = [word for word in arguments if "=" not in word]
        given = {word.partition("=")[0] for word in arguments if "=" in word}
        missing = sorted({*called} - targets()) + sorted(given - make_variables() - variables())
        return f"make knows no {missing}" if missing else None
    if program in ("crowd-rounds", ".venv/bin/crowd-rounds"):
        return wrong_in_command(arguments)
    if re.fullmatch(r"(\.venv/bin/)?python", program) and arguments[:1] == ["-m"]:
        module, rest = arguments[1], arguments[2:]
        if module == "crowd_assets":
            return wrong_in_command(rest)
        if module == "venv":
            return None
        unknown = {word.partition("=")[0] for word in rest if word.startswith("--")} - module_options(module)
        return f"{module} takes no {sorted(unknown)}" if unknown else None
    if re.fullmatch(r"(\S+/bin/)?pip", program):
        extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        asked = {extra for word in arguments for extra in re.findall(r"\.\[(\w+)\]", word)}
        return f"no extra {sorted(asked - extras.keys())}" if asked - extras.keys() else None
    return None if program in OTHERS else f"unknown program {program}"


@pytest.mark.parametrize("block", command_blocks(), ids=str)
def test_commands_exist_with_their_options(block: Block) -> None:
    if block.page.name == "command_line.md" and "[OPTIONS]" in block.text:
        return  # usage lines, which are generated
    for line in block.text.replace("\\\n", " ").splitlines():
        usage = re.sub(r"\$\((.*)\)", "…", line).replace("[options]", "").split(" > ")[0]
        for part in usage.split(" && "):
            assert wrong_in_line(part) is None, line


def test_drift_in_commands_is_found() -> None:
    assert wrong_in_line("make rounds") is not None
    assert wrong_in_line("make round FEEDBAK=x") is not None
    assert wrong_in_line("CROWD_GROUP=3 make round") is not None
    assert wrong_in_line("python -m crowd_assets statuses") is not None
    assert wrong_in_line("python -m crowd_assets status --jsn") is not None
    assert wrong_in_line("python -m crowd_assets import csv x --mapp y") is not None
    assert wrong_in_line(".venv/bin/python -m benchmarks.attacks --quicker") is not None
    assert wrong_in_line('.venv/bin/pip install -e ".[quantisation]"') is not None
    assert wrong_in_line("CROWD_HOME=x make round FEEDBACK=mine   # fine") is None


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_settings_and_targets_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"CROWD_[A-Z0-9_]*[A-Z0-9]\b(?!_)", text))
    assert named - variables() == set()
    code = [child.content for token in tokens(page) for child in token.children or [] if child.type == "code_inline"]
    called = {match for text in code for match in re.findall(r"^(?:\w+=\S* )*make ([a-z][a-z0-9-]*)", text)}
    assert called - targets() == set()
    commands = [shlex.split(text) for text in code if text.startswith(("crowd-rounds ", "python -m crowd_assets "))]
    wrong = [wrong_in_command(words[1 if words[0] == "crowd-rounds" else 3 :]) for words in commands]
    assert [each for each in wrong if each] == []


NAMED_TARGET = re.compile(
    r"(?:`|<code>|run |by |is )(?:\w+=\S* )*make ([a-z][a-z0-9-]*)|^(?:\w+=\S* )*make ([a-z][a-z0-9-]*)", re.MULTILINE
)
"""A target as text names it, and not a word of a sentence after *make*."""


def wrong_targets(text: str) -> set[str]:
    """Targets that a text names and the Makefile has not, and commands that it calls by make."""
    commands = typer.main.get_command(app)
    assert isinstance(commands, typer.core.TyperGroup)
    named = {name for match in NAMED_TARGET.findall(text) for name in match if name}
    as_targets = set(re.findall(rf"\bmake ({'|'.join(sorted(commands.commands))})\b(?!-)", text))
    prose = {"a", "an", "it", "its", "the", "them", "one", "room", "up"}
    return (named | as_targets) - targets() - prose


def test_every_target_that_is_named_anywhere_exists() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    suffixes = (".py", ".md", ".jinja", ".yaml", ".yml", ".toml", ".sh", ".env", ".txt", "run")
    paths = [
        PROJECT / name
        for name in listed.split("\0")
        if name.endswith(suffixes) and name != "tests/project/test_docs.py"
    ]
    assert len(paths) > 400
    wrong = {str(path): names for path in paths if path.exists() and (names := wrong_targets(path.read_text("utf-8")))}
    assert wrong == {}


def test_a_target_that_is_gone_is_found_wherever_it_is_named() -> None:
    assert wrong_targets("an audit says why: run make audit") == {"audit"}
    assert wrong_targets("<code>make statement CONTRIBUTOR=x</code>") == {"statement"}
    assert wrong_targets("CROWD_HOME=x make rounds") == {"rounds"}
    assert wrong_targets("`make round` runs rounds; rounds make the ledger") == set()


def test_the_makefile_keeps_what_needs_more_than_one_command() -> None:
    helped = set(re.findall(r"^([a-z][a-z0-9-]*):.*## ", makefile(), flags=re.MULTILINE))
    assert helped == targets()
    assert len(helped - {"help"}) <= 15


def test_every_error_for_an_operator_has_a_way_out() -> None:
    found = {
        node.name
        for folder in ("crowd_assets", "resources", "sensors")
        for path in (PROJECT / folder).rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and any(getattr(base, "id", "") == "OperatorError" for base in node.bases)
    }
    section = (DOCS / "operations.md").read_text(encoding="utf-8").split("## When something is wrong")[1]
    assert len(found) > 20
    assert {name for name in found if f"`{name}`" not in section} == set()


# Plots


def numbers(svg: str) -> np.ndarray:
    """The coordinates of what a plot draws, in its order."""
    drawn = re.findall(r' (?:d|x|y|points|transform)="([^"]*)"', svg)
    return np.array(re.findall(r"-?\d+\.?\d*", " ".join(drawn)), dtype=float)


def test_plots_are_what_the_mechanisms_draw(tmp_path: Path) -> None:
    plots.write(tmp_path)
    shown = {(page.parent / link).resolve() for page in PAGES for link in links(page)}
    for name in plots.PLOTS:
        kept = plots.FOLDER / f"{name}.svg"
        assert kept in shown, name
        then, now = numbers(kept.read_text()), numbers((tmp_path / kept.name).read_text())
        assert then.size == now.size > 100, f"{name}: run python -m docs.plots"
        assert np.allclose(then, now, atol=0.5), f"{name}: run python -m docs.plots"
    assert {path.stem for path in plots.FOLDER.iterdir()} == set(plots.PLOTS)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_units_of_systemd_are_units(tmp_path: Path) -> None:
    page = (DOCS / "operations.md").read_text(encoding="utf-8")
    units = re.findall(r"^```\n(\[Unit\]\n.*?)^```", page, re.DOTALL | re.MULTILINE)
    names = ["crowd-rounds.service", "crowd-rounds-drill.service", "crowd-rounds-drill.timer"]
    for name, unit in zip(names, units, strict=True):
        assert f"`{name}`" in page or f"/{name}`" in page
        (tmp_path / name).write_text(re.sub(r"/srv/crowd/venv/bin/\S+", "/bin/true", unit), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", *(f"./{name}" for name in names)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
