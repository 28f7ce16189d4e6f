"""A lineage as others take it: one LoRA adapter over the base that everybody can load, and what Ollama is told about its texts.

Belongs here: combining adapters, files that servers read. Does not belong here: which model, cards (see
``crowd_assets.exporters``).
"""

import re
from collections.abc import Sequence
from pathlib import Path

from resources.training.loading import A_WEIGHT, ADAPTER_WEIGHTS, B_WEIGHT, OF_LAYER, StoredAdapter, read_adapter
from resources.training.prompting import TemplateError, TextFormat

FRONT_MATTER = re.compile(r"---\n(.*?)\n---(\n|$)", re.DOTALL)
LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")


def combined(adapters: Sequence[StoredAdapter]) -> StoredAdapter:
    """One adapter that changes each layer by what all of them change it by: their ranks beside one another, scale 1. A layer that
    some of them leave alone has rows and columns of zeros, as all layers of an adapter have one rank.

    Raises:
        ValueError: there is none.
    """
    import torch

    if not adapters:
        raise ValueError("no adapter to combine.")
    rank = sum(each.rank for each in adapters)
    weights: dict[str, torch.Tensor] = {}
    for layer in sorted({layer for each in adapters for layer in each.layers}):
        found = [(each, *each.matrices(layer)) for each in adapters if layer in each.layers]
        (_, a, b), *_ = found
        whole_a, whole_b = a.new_zeros(rank, a.shape[1]), b.new_zeros(b.shape[0], rank)
        at = 0
        for each, a, b in found:
            whole_a[at : at + each.rank] = a
            whole_b[:, at : at + each.rank] = b * each.scale
            at += each.rank
        weights |= {f"{OF_LAYER}{layer}{A_WEIGHT}": whole_a, f"{OF_LAYER}{layer}{B_WEIGHT}": whole_b}
    return StoredAdapter(weights, rank, 1.0)


def save_combined(chain: Sequence[Path], directory: Path, *, base: str, revision: str | None) -> None:
    """Write the adapters of a lineage as one PEFT checkpoint over ``base``.

    Args:
        chain: Directories of stored adapters, the root's first child first.
        base: Hub id of the root, or a folder beside the checkpoint's.
        revision: Its commit; None for a folder.
    """
    from peft import LoraConfig
    from safetensors.torch import save_file

    found = combined([read_adapter(path) for path in chain])
    config = LoraConfig.from_pretrained(str(chain[0]))
    modules = {module for path in chain for module in LoraConfig.from_pretrained(str(path)).target_modules}
    config.r = config.lora_alpha = found.rank
    config.target_modules = sorted(modules)
    config.base_model_name_or_path, config.revision = base, revision
    config.inference_mode = True
    config.save_pretrained(str(directory))
    save_file(found.weights, directory / ADAPTER_WEIGHTS, metadata={"format": "pt"})


def modelfile(texts: TextFormat, temperature: float) -> str:
    """Ollama's ``Modelfile`` for a merged model in the same folder: its template, its ends, and the round's temperature.

    A template that Ollama could not write the same with one system prompt and one question is left to Ollama.
    """
    lines = ["FROM .", f"PARAMETER temperature {temperature:g}"]
    ends = [str(texts.tokenizer.decode([end])) for end in texts.ends]
    lines += [f"PARAMETER stop {_quoted(end)}" for end in ends if end.strip() and '"' not in end]
    if texts.options.system_prompt and '"""' not in texts.options.system_prompt:
        lines.append(f'SYSTEM """{texts.options.system_prompt}"""')
    template = _go_template(texts)
    if template is not None:
        lines.append(f'TEMPLATE """{template}"""')
    return "\n".join(lines) + "\n"


def license_of(folder: Path) -> str:
    """The license that the card of a model's folder names, in a hub's spelling; empty where it names none."""
    card = folder / "README.md"
    if not card.is_file():
        return ""
    front = FRONT_MATTER.match(card.read_text(encoding="utf-8", errors="replace"))
    for line in front[1].splitlines() if front else []:
        name, _, value = line.partition(":")
        if name == "license" and LICENSE.fullmatch(value.strip().strip("'\"")):
            return value.strip().strip("'\"").lower()
    return ""


def _go_template(texts: TextFormat) -> str | None:
    """How the model's texts are written, in the template language of Ollama; it opens texts with the tokenizer's begin itself."""
    begin = texts.tokenizer.bos_token or ""
    alone = texts.around(("user",))
    try:
        with_system = texts.around(("system", "user"))
    except TemplateError:
        with_system = alone
    answer = "{{ .Response }}" + str(texts.tokenizer.decode(list(texts.closing)))
    written = []
    for parts, names in ((alone, ("Prompt",)), (with_system, ("System", "Prompt"))):
        literal = "".join(part for part in parts if isinstance(part, str))
        if "{{" in literal or "}}" in literal or '"""' in literal:
            return None
        fields = "".join(part if isinstance(part, str) else f"{{{{ .{names[part]} }}}}" for part in parts)
        written.append(fields.removeprefix(begin) if texts.opens_itself else fields)
    if with_system == alone or written[0] == written[1]:
        return written[0] + answer
    return f"{{{{ if .System }}}}{written[1]}{{{{ else }}}}{written[0]}{{{{ end }}}}{answer}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\n", "\\n") + '"'
