"""An exported model to a hub, by the hub's own client.

Belongs here: what is sent, and what is refused before. Does not belong here: exporting (see ``model``); the client reads the token
(HF_TOKEN) and the hub's address (HF_ENDPOINT) from its own variables.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from crowd_assets.exporters.model import README
from resources.common.errors import OperatorError

NO_LICENSE = "\nlicense: other\n"
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}")
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class PushError(OperatorError, RuntimeError):
    """The export cannot be sent; the message says why, and the way out."""


@dataclass(frozen=True)
class Pushed:
    """What was sent, or would be: files with their bytes, the hub's repository, whether it is there, and the commit's address."""

    files: dict[str, int]
    repository: str
    exists: bool
    url: str = ""


def push(folder: Path, repository: str, *, license_: str = "", public: bool = False, dry_run: bool = False) -> Pushed:
    """Send an exported folder to a repository of the hub, which is made where it is not there.

    Args:
        folder: What ``export_round`` wrote.
        license_: The hub's name of the license, for a card that has none.
        public: Whether a repository made for it can be seen by everybody.
        dry_run: Ask the hub who one is and whether the repository is there, and send nothing.

    Raises:
        PushError: the repository is no name of one, the card names no license, or the hub refuses or cannot be reached.
    """
    if not REPOSITORY.fullmatch(repository):
        raise PushError(f"{repository!r} names no repository of a hub: write OWNER/NAME.")
    card = folder / README
    text = card.read_text(encoding="utf-8")
    if license_ and not LICENSE.fullmatch(license_):
        raise PushError(f"--license {license_!r}: write a hub's name of a license, such as apache-2.0 or llama3.2.")
    if NO_LICENSE in text:
        if not license_:
            raise PushError(
                "the card of the base model names no license, and no model is given to others without a license: look the license up, and name the license with --license, such as --license apache-2.0."
            )
        text = text.replace(NO_LICENSE, f"\nlicense: {license_}\n", 1)
    from huggingface_hub import HfApi

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    files = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }
    with _named(repository, api.endpoint):
        api.whoami()
        exists = api.repo_exists(repository)
        if dry_run:
            return Pushed(files, repository, exists)
        card.write_text(text, encoding="utf-8")
        api.create_repo(repository, private=not public, exist_ok=True)
        sent = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=list(files),
            commit_message=f"{folder.name} of crowd rounds",
        )
    return Pushed(files, repository, exists, str(sent.commit_url))


@contextmanager
def _named(repository: str, endpoint: str) -> Iterator[None]:
    """The hub's errors, with what to do about them."""
    from huggingface_hub.errors import LocalTokenNotFoundError

    try:
        yield
    except LocalTokenNotFoundError as problem:
        raise PushError(
            f"{endpoint} asks for a token that may write: set HF_TOKEN, or call `hf auth login`."
        ) from problem
    except Exception as problem:  # the hub's, or those of whatever HTTP client its client has
        reason = " ".join(str(problem).split())[:300].rstrip(".")
        raise PushError(
            f"{repository} at {endpoint}: {reason}. The token (HF_TOKEN) must be one that may write there, and the hub (HF_ENDPOINT) "
            "be within reach."
        ) from problem
