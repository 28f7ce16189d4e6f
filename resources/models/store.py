"""The model store: adapters and models as directories named by the hash of their content, each with a model card.

A stored model is a PEFT adapter whose ``parent`` is another stored model, or none: then its parent is the root, the
base model of the settings. A candidate, a selected and an aligned model are all of that form, so a lineage is a chain
of adapters down to the root.

Belongs here: putting, finding and checking directories, and their cards. Does not belong here: loading weights
(see ``training.loading``).
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dagster import ConfigurableResource
from pydantic import Field
from upath import UPath

from resources.common.errors import OperatorError
from resources.common.hashes import file_hash
from resources.common.plain_text import one_line, without_links
from resources.files.storage import (
    UNFINISHED,
    files_below,
    is_local,
    remove,
    write_bytes_atomically,
    write_text_atomically,
)

CARD = "card.json"
README = "README.md"
NOT_HASHED = {CARD, README}
STORED_SUFFIXES = {".safetensors", ".json", ".txt", ".md", ".jinja", ".model"}


class DamagedModelError(OperatorError, RuntimeError):
    """A stored model whose files do not hash to its name, or whose card is none."""


class ModelStoreResource(ConfigurableResource):
    """Models at ``<root>/<hash>/``, written whole or not at all."""

    root: str = Field(description="Folder or URI of the model store.")
    cache: str = Field(description="Local folder where models of a remote store are kept while used.")

    def put(self, directory: Path, card: dict[str, Any]) -> str:
        """Store the files of ``directory`` under their hash and write the card beside them.

        Args:
            directory: Files with safe suffixes only: safetensors, JSON and text.
            card: What the model is: round_id, role, parent, and whatever a reader should know. JSON values.

        Returns:
            The hash, 40 hexadecimal digits. The same files have the same hash and are stored once.

        Raises:
            ValueError: a file's suffix is not one the store keeps.
        """
        files = _files(directory)
        for name in files:
            if Path(name).suffix not in STORED_SUFFIXES:
                raise ValueError(
                    f"{directory}/{name}: the model store keeps {', '.join(sorted(STORED_SUFFIXES))} only."
                )
        model = _hash(files)
        target = UPath(self.root, model)
        if not (target / CARD).exists():
            if is_local(target):
                _copy_by_rename(files, target)
            else:
                for name, path in sorted(files.items()):
                    write_bytes_atomically(target / name, path.read_bytes())
        self.write_card(model, card)
        return model

    def write_card(self, model: str, card: dict[str, Any]) -> None:
        """Replace the card of a stored model; the card is what makes a model visible, so it is written last."""
        text = json.dumps(card, indent=2, sort_keys=True, ensure_ascii=False)
        write_text_atomically(UPath(self.root, model, README), _readme(model, card))
        write_text_atomically(UPath(self.root, model, CARD), text)

    def card(self, model: str) -> dict[str, Any]:
        """The card of a stored model.

        Raises:
            FileNotFoundError: the store has no such model.
            DamagedModelError: its card is no JSON object.
        """
        path = UPath(self.root, model, CARD)
        if not path.exists():
            raise FileNotFoundError(f"the model store {self.root} has no model {model}.")
        try:
            card = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:  # no JSON, or no text at all
            card = None
        if not isinstance(card, dict):
            raise DamagedModelError(f"model {model}: its {CARD} is no JSON object: restore the model from a backup.")
        return card

    def card_hash(self, model: str) -> str:
        """Hash of the file of a stored model's card."""
        return file_hash(UPath(self.root, model, CARD).read_bytes())

    def path(self, model: str) -> Path:
        """A local directory with the files of a stored model; where the store is remote they are fetched first, and checked.

        Raises:
            FileNotFoundError: the store has no such model.
            DamagedModelError: what was fetched does not hash to its name.
        """
        self.card(model)
        source = UPath(self.root, model)
        if is_local(source):
            return Path(str(source))
        target = Path(self.cache, model)
        if not target.exists():
            _copy_by_rename(_stored(source), UPath(target), lambda copy: self._check(model, _files(copy)))
        return target

    def files(self, model: str) -> dict[str, Path]:
        """The files of a stored model by name, without its card."""
        return _files(self.path(model))

    def lineage(self, model: str | None) -> list[str]:
        """The chain of stored models from the root's first child to ``model``; empty for the root itself (None)."""
        chain: list[str] = []
        while model is not None:
            chain.append(model)
            model = self.card(model)["parent"]
        return chain[::-1]

    def verify(self, model: str) -> None:
        """Check that the files of a stored model hash to its name: those that are loaded, fetched ones where the store is remote.

        Raises:
            DamagedModelError: they do not.
        """
        self._check(model, self.files(model))

    def verify_stored(self, model: str) -> None:
        """:meth:`verify` for the files as the store has them, whatever was fetched before.

        Raises:
            DamagedModelError: they do not hash to the model's name.
        """
        self.card(model)
        self._check(model, _stored(UPath(self.root, model)))

    def _check(self, model: str, files: Mapping[str, Path | UPath]) -> None:
        actual = _hash(files)
        if actual != model:
            raise DamagedModelError(
                f"model {model} in {self.root} has content {actual}: restore the model from a backup."
            )

    def remove(self, model: str) -> int:
        """Remove the files of a stored model, and what was fetched of it; 1 where there were any. Killed, what is left is no
        model, and ``.putting-…`` in its name says so."""
        shutil.rmtree(Path(self.cache, model), ignore_errors=True)
        folder = UPath(self.root, model)
        if not folder.exists():
            return 0
        if is_local(folder):
            aside = Path(tempfile.mkdtemp(prefix=".putting-away-", dir=str(folder.parent)))
            os.rename(str(folder), aside / model)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            (folder / CARD).unlink(missing_ok=True)  # first: without it the rest is no model
            remove(folder)
        return 1

    def remove_idle_notes(self) -> None:
        """Remove what :meth:`reuse_together` noted of models of which one is gone: nothing is found by it any more."""
        for path in (each.path for each in files_below(UPath(self.root, "made"))):
            models = json.loads(path.read_text(encoding="utf-8")).get("models", [])
            if not all(UPath(self.root, model, CARD).exists() for model in models):
                path.unlink(missing_ok=True)

    def reuse(self, key: str, make: Callable[[], str]) -> tuple[str, bool]:
        """The model stored under ``key``, the hash of everything its training depends on; made first if there is none.

        A step that was killed after its training is repeated without training again.

        Returns:
            The model, and whether it was there already.
        """
        models, _, reused = self.reuse_together(key, lambda: ([make()], None))
        return models[0], reused

    def reuse_together(self, key: str, make: Callable[[], tuple[list[str], Any]]) -> tuple[list[str], Any, bool]:
        """Models that are trained together, and what was found in doing so; made all, if one of them is missing.

        Args:
            make: Stores the models; returns them, and a JSON value.

        Returns:
            The models, the value, and whether they were there already.
        """
        made = self.made(key)
        if made:
            return *made, True
        models, result = make()
        write_text_atomically(self._note(key), json.dumps({"models": models, "found": result}))
        return models, result, False

    def made(self, key: str) -> tuple[list[str], Any] | None:
        """What :meth:`reuse_together` would find under ``key``: the models and the value; None where it would make them."""
        path = self._note(key)
        if path.exists():
            note = json.loads(path.read_text(encoding="utf-8"))
            models = note.get("models", [])
            if models and all(UPath(self.root, model, CARD).exists() for model in models):
                return models, note["found"]
        return None

    def _note(self, key: str) -> UPath:
        return UPath(self.root, "made", f"{key}.json")

    def pinned(self, key: str, find: Callable[[], str]) -> tuple[str, bool]:
        """The value that was found when ``key`` was first asked for, whatever would be found today.

        Returns:
            The value, and whether it was found just now.
        """
        path = UPath(self.root, "pinned", key)
        if path.exists():
            return path.read_text(encoding="utf-8"), False
        value = find()
        write_text_atomically(path, value)
        return value, True


def fingerprint(**parts: Any) -> str:
    """Hash of JSON values by name, for keys of what was computed from them."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode("utf-8", errors="replace"), digest_size=20).hexdigest()


def markdown_cell(value: Any) -> str:
    """A value as a cell of a Markdown table that shows it as it is: no markup, no link, no second line."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
    text = without_links(one_line(text)).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*~\[\]|])", r"\\\1", text)


def _files(directory: Path) -> dict[str, Path]:
    return {
        path.relative_to(directory).as_posix(): path
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name not in NOT_HASHED and path.suffix != UNFINISHED
    }


def _stored(folder: UPath) -> dict[str, UPath]:
    """Files of a stored model by name, without its card."""
    named = {each.name: each.path for each in files_below(folder)}
    return {name: path for name, path in named.items() if path.name not in NOT_HASHED and path.suffix != UNFINISHED}


def _hash(files: Mapping[str, Path | UPath]) -> str:
    digest = hashlib.blake2b(digest_size=20)
    for name, path in sorted(files.items()):
        content = hashlib.blake2b(path.read_bytes(), digest_size=20).hexdigest()
        digest.update(f"{name}\0{content}\n".encode())
    return digest.hexdigest()


def _copy_by_rename(
    files: Mapping[str, Path | UPath], target: UPath, check: Callable[[Path], None] = lambda copy: None
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".putting-", dir=str(target.parent)))
    try:
        for name, path in files.items():
            copy = temporary / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        check(temporary)
        temporary.chmod(0o755)
        try:
            os.rename(temporary, str(target))
        except OSError:
            if not target.exists():
                raise
            shutil.rmtree(temporary)  # another process stored the same files, or was killed before its card
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _readme(model: str, card: dict[str, Any]) -> str:
    rows = "\n".join(f"| {name} | {markdown_cell(value)} |" for name, value in sorted(card.items()))
    return f"# Model {model}\n\n| what | value |\n|---|---|\n{rows}\n"
