"""Settings: the base model, the embedding Φ, and the target.

Belongs here: those fields, and what is made of them alone. Does not belong here: what a setting does to a round.
"""

from typing import Literal

from pydantic import BaseModel, field_validator

from resources.settings.fields import SettingError, setting, without_credentials

BASE_MODEL = "base_model"  # the embedder that is the base model itself


class Models(BaseModel):
    """The base model, the embedding Φ, and the target."""

    base_model: str = setting(
        default="",
        description="Hub id or local path of the causal language model that round 1 starts from. Empty: the seed model "
        "that the asset seed_language_model builds.",
        shown="model",
        per_run=False,
        essential=True,
    )
    base_model_revision: str = setting(
        default="main",
        description="Branch, tag or commit of a base model from the hub. A home keeps to the commit where a branch or tag stood "
        "when it was first used.",
        shown="word",
        per_run=False,
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting(
        default="auto",
        description="Precision of the base model; adapters are trained and kept in single precision. auto: as its "
        "configuration says.",
        shown="yes",
        per_run=False,
    )
    device_map: str = setting(
        default="",
        pattern=r"^(auto|cpu|cuda(:\d+)?)?$",
        description="Where the base model lies: cpu, cuda, cuda:1 and so on, or auto, as transformers' device_map. It must fit on "
        "one device. Empty: the first GPU, or the CPU where there is none.",
        shown="yes",
        per_run=False,
    )
    quantization: Literal["none", "int8", "nf4"] = setting(
        default="none",
        description="Linear layers of the base model in 8 or 4 bits by bitsandbytes, which the extra quantization installs; "
        "adapters of earlier rounds are merged before.",
        shown="yes",
        per_run=False,
    )
    embedder: str = setting(
        default="",
        description="Φ: hub id or local path of a multi-label classifier or a sentence encoder; or base_model, the last hidden "
        "states of the model that round 1 starts from. Empty: the seed classifier.",
        shown="model",
        per_run=False,
        essential=True,
    )
    embedder_revision: str = setting(
        default="main", description="Branch, tag or commit of an embedder from the hub.", shown="word", per_run=False
    )
    embedding_cache_mib: int = setting(
        default=512,
        ge=0,
        description="Largest size, in MiB, of the file in which vectors of texts are kept for later steps and rounds; those "
        "stored first go first. 0: none are kept. The seed classifier's never are, as they are quickly made again.",
        shown="yes",
        per_run=False,
    )
    target_from: Literal["auto", "neighbourhood", "top_k", "texts", "gold"] = setting(
        default="auto",
        description="What the target is the centroid of: the reference texts around the one that scores highest for the "
        "attribute, those that score highest, the texts of target_texts, or the gold answers. auto: the file that is set, "
        "else neighbourhood.",
        shown="yes",
    )
    target_attribute: str = setting(
        default="gratitude",
        description="Label of Φ that the crowd should bring out, where the target is a neighbourhood or the top k.",
        shown="word",
        essential=True,
    )
    target_texts: str = setting(
        default="",
        description="File of texts to be like: one a line, or JSON Lines with a field text.",
        shown="file",
        essential=True,
    )
    target_neighbours: int = setting(
        default=100,
        ge=1,
        description="Reference texts in the centroid of a neighbourhood, or of the top k.",
        shown="yes",
    )
    gold_answers: str = setting(
        default="",
        description="File of gold answers to be like: JSON Lines with a field response and, if known, prompt. Φ sees the "
        "response; the prompt is what in-run values ask for it by.",
        shown="file",
    )
    reference_texts: str = setting(
        default="",
        description="File of ordinary texts (one a line, or JSON Lines with a field text) among which the target is found "
        "and against which quality is scaled. Empty: comments of the embedded forum.",
        shown="file",
    )

    @field_validator("base_model", "embedder")
    @classmethod
    def _no_credentials_of_models(cls, value: str) -> str:
        return without_credentials(value)

    @property
    def target_source(self) -> Literal["neighbourhood", "top_k", "texts", "gold"]:
        """Where the target comes from.

        Raises:
            SettingError: the file that it should come from is not set, or both files are and neither is chosen.
        """
        if self.target_from == "auto":
            if self.target_texts and self.gold_answers:
                raise SettingError(
                    "CROWD_TARGET_TEXTS and CROWD_GOLD_ANSWERS are both set: unset one of them, or choose with "
                    "CROWD_TARGET_FROM=texts or CROWD_TARGET_FROM=gold."
                )
            return "texts" if self.target_texts else "gold" if self.gold_answers else "neighbourhood"
        for source, file, named in (
            ("texts", self.target_texts, "CROWD_TARGET_TEXTS"),
            ("gold", self.gold_answers, "CROWD_GOLD_ANSWERS"),
        ):
            if self.target_from == source and not file:
                raise SettingError(f"CROWD_TARGET_FROM={source} needs a file of them: set {named}.")
        return self.target_from

    @property
    def target_name(self) -> str:
        """The file or the attribute that the target is made of."""
        files = {"texts": self.target_texts, "gold": self.gold_answers}
        return files.get(self.target_source, self.target_attribute)
