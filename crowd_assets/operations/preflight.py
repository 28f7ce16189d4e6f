"""What can be known to be wrong before anything is trained, claimed or waited for.

Belongs here: cheap looks at settings and inputs. Does not belong here: what a home holds (see ``doctor``).
"""

import json
from pathlib import Path

from upath import UPath

from crowd_assets.forum.comments import MOODS
from crowd_assets.forum.recipe import REFERENCE_COMMENTS
from crowd_assets.round.members import check_members
from crowd_assets.round.target import answers_of, check_neighbours, reference_texts, wanted_texts
from resources.feedback.events import SUFFIXES
from resources.feedback.pseudonyms import Pseudonyms
from resources.settings.fields import SettingError
from resources.settings.models import BASE_MODEL
from resources.settings.resource import CrowdSettings
from resources.training.packaged import packaged, packaged_file


def check_inputs(settings: CrowdSettings, feedback: str = "") -> list[UPath]:
    """Look at everything that a round is made from, as far as that takes no model.

    Args:
        feedback: Folder or URI of the round's feedback files; empty: none are given.

    Returns:
        The feedback files.

    Raises:
        SettingError: a file is missing, empty or not as it should be, a model or attribute cannot be, or members of families do not fit
            together.
        PseudonymKeyError: the key cannot be one.
    """
    files = feedback_files(feedback) if feedback else []
    check_members(settings)
    if settings.lots:
        settings.known_lots()
    if settings.lot_prompts:
        settings.known_prompts()
    Pseudonyms.from_environment()
    for model, setting in ((settings.base_model, "CROWD_BASE_MODEL"), (settings.embedder, "CROWD_EMBEDDER")):
        if model and model != BASE_MODEL and _is_folder(model) and not Path(model, "config.json").is_file():
            raise SettingError(
                f"{setting}={model!r}: there is no config.json of a model. Name its folder, or a hub id."
            )
        if packaged(model):
            packaged_file(model)
    wanted_texts(settings)
    texts = len(reference_texts(settings)) if settings.reference_texts else REFERENCE_COMMENTS
    if settings.held_out_texts:
        answers_of(settings.held_out_texts, "CROWD_HELD_OUT_TEXTS")
    if settings.target_source in ("neighbourhood", "top_k"):
        _check_attribute(settings)
        check_neighbours(settings, texts)
    return files


def feedback_files(source: str) -> list[UPath]:
    """The feedback files of a folder or URI, each of which can be read.

    Raises:
        SettingError: there is none, or one of them cannot be read.
    """
    place = source
    try:
        folder = UPath(source)
        files = (
            sorted((path for path in folder.iterdir() if path.suffix in SUFFIXES), key=str) if folder.is_dir() else []
        )
        for path in files:
            place = str(path)
            with path.open("rb") as file:
                file.read(1)
    except (OSError, ValueError, ImportError) as problem:
        said = getattr(problem, "strerror", None) or problem
        raise SettingError(
            f"FEEDBACK={place} cannot be read ({said}): let this user read it, or take it away."
        ) from None
    if not files:
        raise SettingError(
            f"FEEDBACK={folder}: no {' or '.join(SUFFIXES)} file there. docs/feedback.md has the format."
        )
    return files


def _check_attribute(settings: CrowdSettings) -> None:
    """Whether Φ has the wanted attribute, where that can be known without loading Φ."""
    labels: list[str] | None = None
    if not settings.embedder:
        labels = list(MOODS)
    elif _is_folder(settings.embedder):
        labels = _labels_of(Path(settings.embedder, "config.json"))
    if labels and settings.target_attribute not in labels:
        raise SettingError(
            f"CROWD_TARGET_ATTRIBUTE={settings.target_attribute!r} is no label of {settings.embedder or 'the embedded classifier'}; "
            f"its labels are {', '.join(labels)}. Choose one of the labels, or set CROWD_TARGET_TEXTS or CROWD_GOLD_ANSWERS to a file of "
            "texts to be like."
        )


def _labels_of(config: Path) -> list[str]:
    try:
        labels = json.loads(config.read_text(encoding="utf-8")).get("id2label") or {}
        return [str(label) for label in labels.values()]
    except (OSError, ValueError, AttributeError) as problem:
        raise SettingError(
            f"CROWD_EMBEDDER={str(config.parent)!r}: {config.name} is none of a model ({problem}). Name its folder, or a hub id."
        ) from None


def _is_folder(model: str) -> bool:
    """Whether a model is named by a path: a hub id has one slash at most, and no folder of that name lies here."""
    return Path(model).exists() or model.startswith((".", "/", "~")) or model.count("/") > 1
