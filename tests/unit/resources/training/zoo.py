"""Small models of random weights, a family each, with tokenizers of the kinds that their families have; and the plain loop that
what they write is compared with.

Belongs here: what tests of any model build. Does not belong here: tests.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resources.models.local import LocalTrainer
from resources.models.store import ModelStoreResource
from resources.training.loading import LanguageModel

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }}</s>{% endif %}{% endfor %}"
)
# What each kind of tokenizer has: special tokens, roles of them, whether it opens and closes texts by itself, its template.
KINDS: dict[str, dict[str, Any]] = {
    "gpt": {"specials": ["<|endoftext|>"], "eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"},
    "llama": {
        "specials": ["<unk>", "<s>", "</s>"],
        "eos_token": "</s>",
        "bos_token": "<s>",
        "unk_token": "<unk>",
        "opens": "<s>",
    },
    "closing": {"specials": ["<s>", "</s>"], "eos_token": "</s>", "bos_token": "<s>", "opens": "<s>", "closes": "</s>"},
    "inst": {"specials": ["<s>", "</s>"], "eos_token": "</s>", "bos_token": "<s>", "opens": "<s>", "template": INST},
    "chatml": {
        "specials": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "template": CHATML,
    },
    "gemma": {
        "specials": ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"],
        "eos_token": "<eos>",
        "bos_token": "<bos>",
        "pad_token": "<pad>",
        "opens": "<bos>",
        "template": GEMMA,
    },
    "endless": {"specials": ["<unk>"], "unk_token": "<unk>"},
}
WORDS = [
    "what",
    "about",
    "the",
    "very",
    "old",
    "thing",
    "and",
    "how",
    "much",
    "do",
    "you",
    "like",
    "it",
    "thank",
    "you",
    "so",
    "much",
    "nobody",
    "asked",
    "for",
    "that",
    "group",
    "no",
    "one",
]
FULL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 64,
    "max_position_embeddings": 256,
}
HEADS = FULL | {"head_dim": 16}
SLIDING = {"sliding_window": 8}
MIXTURE = {"num_experts_per_tok": 2}
GPT: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128}
FALCON = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "new_decoder_architecture": False}
FAMILIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "llama": ("llama", HEADS, "llama"),
    "gpt2": ("gpt2", GPT, "gpt"),
    "qwen2": ("qwen2", HEADS, "chatml"),
    "qwen3": ("qwen3", HEADS, "chatml"),
    "gemma2": ("gemma2", HEADS | SLIDING | {"query_pre_attn_scalar": 16}, "gemma"),
    "gemma3": ("gemma3_text", HEADS | SLIDING | {"query_pre_attn_scalar": 16}, "gemma"),
    "mistral": ("mistral", HEADS | SLIDING, "inst"),
    "phi": ("phi", FULL | {"num_key_value_heads": 2}, "gpt"),
    "phi3": ("phi3", FULL | {"pad_token_id": 0}, "llama"),
    "gpt_neox": ("gpt_neox", FULL | {"rotary_pct": 0.25}, "gpt"),
    "gpt_neo": (
        "gpt_neo",
        {
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 2,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 8,
        },
        "gpt",
    ),
    "gptj": ("gptj", GPT | {"rotary_dim": 8}, "gpt"),
    "gpt_bigcode": ("gpt_bigcode", GPT, "gpt"),
    "codegen": ("codegen", GPT | {"n_head": 4, "rotary_dim": 4}, "gpt"),
    "opt": (
        "opt",
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "ffn_dim": 64,
            "max_position_embeddings": 128,
            "word_embed_proj_dim": 32,
        },
        "llama",
    ),
    "falcon": ("falcon", FALCON | {"multi_query": True, "alibi": False}, "gpt"),
    "falcon_alibi": ("falcon", FALCON | {"multi_query": False, "alibi": True}, "gpt"),
    "bloom": ("bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 2}, "llama"),
    "mixtral": ("mixtral", HEADS | MIXTURE | {"num_local_experts": 4}, "llama"),
    "qwen2_moe": (
        "qwen2_moe",
        FULL | MIXTURE | {"num_experts": 4, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32},
        "chatml",
    ),
    "qwen3_moe": ("qwen3_moe", HEADS | MIXTURE | {"num_experts": 4, "moe_intermediate_size": 32}, "chatml"),
    "qwen3_next": (
        "qwen3_next",
        HEADS
        | MIXTURE
        | {"num_experts": 4, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32}
        | {
            "linear_num_value_heads": 2,
            "linear_num_key_heads": 1,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "layer_types": ["linear_attention", "full_attention"],
        },
        "chatml",
    ),
    "llama4": (
        "llama4_text",
        HEADS | {"intermediate_size_mlp": 64, "num_local_experts": 2, "interleave_moe_layer_step": 2},
        "llama",
    ),
    "lfm2": ("lfm2", FULL | {"layer_types": ["conv", "full_attention"]}, "chatml"),
    "gpt_oss": ("gpt_oss", HEADS | MIXTURE | SLIDING | {"num_local_experts": 4}, "gpt"),
    "olmo2": ("olmo2", FULL, "gpt"),
    "olmoe": ("olmoe", FULL | MIXTURE | {"num_experts": 4}, "gpt"),
    "granite": ("granite", FULL | {"logits_scaling": 3.0}, "gpt"),
    "cohere": ("cohere", FULL | {"logit_scale": 0.5}, "llama"),
    "stablelm": ("stablelm", FULL, "gpt"),
    "starcoder2": ("starcoder2", FULL | SLIDING, "gpt"),
    "smollm3": ("smollm3", FULL | {"pad_token_id": 0}, "chatml"),
    "mamba": ("mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}, "gpt"),
    "mamba2": (
        "mamba2",
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "state_size": 8,
            "num_heads": 8,
            "head_dim": 8,
            "n_groups": 1,
            "chunk_size": 8,
        },
        "gpt",
    ),
    "falcon_mamba": ("falcon_mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}, "gpt"),
    "recurrent_gemma": (
        "recurrent_gemma",
        FULL | {"num_hidden_layers": 3, "intermediate_size": 96, "attention_window_size": 8, "lru_width": 32},
        "gemma",
    ),
    "jamba": (
        "jamba",
        FULL
        | {"num_experts": 2, "num_experts_per_tok": 1, "attn_layer_period": 2, "attn_layer_offset": 1}
        | {"expert_layer_period": 2, "expert_layer_offset": 1, "use_mamba_kernels": False, "mamba_d_state": 4},
        "llama",
    ),
}
# Families that nothing here is written for, at the sizes above.
ANY = FULL | MIXTURE | {"num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "moe_intermediate_size": 32}
GROUPED = {"n_group": 1, "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 1}
LATENT = {
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 16,
    "num_key_value_heads": 2,
}
STATE = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 8}
OTHERS: dict[str, dict[str, Any]] = {
    **{
        name: {}
        for name in (
            "apertus",
            "arcee",
            "bitnet",
            "ctrl",
            "doge",
            "ernie4_5",
            "ernie4_5_moe",
            "granitemoe",
            "granitemoeshared",
        )
    },
    **{
        name: {}
        for name in (
            "jetmoe",
            "minimax",
            "mpt",
            "olmo",
            "olmo3",
            "openai-gpt",
            "phimoe",
            "seed_oss",
            "vaultgemma",
            "xglm",
        )
    },
    **{name: {"head_dim": 16} for name in ("gemma", "helium", "hunyuan_v1_dense", "minimax_m2", "nemotron")},
    **{name: {"head_dim": 16, "pad_token_id": 0} for name in ("glm", "glm4")},
    **{name: SLIDING | {"layer_types": ["sliding_attention", "full_attention"]} for name in ("cohere2", "exaone4")},
    "bamba": STATE | {"attn_layer_indices": [1]},
    "deepseek_v2": GROUPED | LATENT,
    "deepseek_v3": GROUPED | LATENT,
    "diffllama": {"num_attention_heads": 4, "num_key_value_heads": 2},
    "dots1": GROUPED | {"head_dim": 16},
    "glm4_moe": GROUPED | {"head_dim": 16},
    "granitemoehybrid": STATE | {"layer_types": ["mamba", "attention"], "shared_intermediate_size": 32},
    "ministral": HEADS | SLIDING,
    "nemotron_h": {
        "hybrid_override_pattern": "M*",
        "mamba_num_heads": 8,
        "mamba_head_dim": 8,
        "n_groups": 1,
        "ssm_state_size": 8,
    },
    "persimmon": {"num_key_value_heads": 2},
    "zamba2": {
        "mamba_headdim": 8,
        "n_mamba_heads": 8,
        "mamba_ngroups": 1,
        "mamba_d_state": 8,
        "adapter_rank": 4,
        "num_mem_blocks": 1,
        "hybrid_layer_ids": [1],
        "layers_block_type": ["mamba", "hybrid"],
    },
}
# More of them: decoders of translators, whose positions count padding, among others.
DECODER = {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 64}
MIXED = {"layer_types": ["sliding_attention", "full_attention"]}
LINEAR = {
    "linear_num_value_heads": 2,
    "linear_num_key_heads": 1,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
OTHERS |= {
    **dict.fromkeys(("bart", "blenderbot", "marian", "trocr"), DECODER),
    **{name: {"num_key_value_heads": 2} for name in ("biogpt", "jais2", "nanochat")},
    "afmoe": SLIDING | MIXED | {"head_dim": 16, "num_shared_experts": 1, "num_dense_layers": 1},
    "bert-generation": {"is_decoder": True, "num_key_value_heads": 2},
    "cwm": SLIDING | {"head_dim": 16},
    "exaone_moe": GROUPED | SLIDING | MIXED,
    "falcon_h1": STATE | {"mamba_d_ssm": 64, "head_dim": 16},
    "flex_olmo": {},
    "gemma3n_text": MIXED
    | {"vocab_size_per_layer_input": 340, "hidden_size_per_layer_input": 8, "laurel_rank": 8, "head_dim": 16}
    | {"num_kv_shared_layers": 0, "activation_sparsity_pattern": [0.0, 0.0], "altup_num_inputs": 2},
    "gemma4_text": SLIDING
    | MIXED
    | {"head_dim": 16, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 340},
    "glm4_moe_lite": GROUPED | LATENT,
    "hunyuan_v1_moe": {"head_dim": 16, "moe_topk": 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "mimo_v2_flash": SLIDING
    | {"head_dim": 16, "v_head_dim": 16, "swa_head_dim": 16, "swa_v_head_dim": 16}
    | {"swa_num_attention_heads": 2, "swa_num_key_value_heads": 1},
    "ministral3": HEADS,
    "modernbert-decoder": {"local_attention": 8, "num_key_value_heads": 2}
    | {"pad_token_id": 0, "cls_token_id": 0, "sep_token_id": 0},
    "olmo_hybrid": LINEAR,
    "qwen3_5_text": LINEAR | {"head_dim": 16},
    "solar_open": GROUPED | {"head_dim": 16},
    "youtu": LATENT,
}
# Families that are refused, each in a sentence of its own.
REFUSED: dict[str, dict[str, Any]] = {
    "reformer": {"attn_layers": ["local", "local"], "axial_pos_shape": [16, 16], "axial_pos_embds_dim": [16, 16]}
    | {"feed_forward_size": 64, "attention_head_size": 16, "local_attn_chunk_length": 8, "is_decoder": True},
    "rwkv": {"attention_hidden_size": 32},
    "xlm": {"emb_dim": 32, "n_layers": 2, "n_heads": 2},
    "xlstm": {"embedding_dim": 32, "num_blocks": 2, "num_heads": 2}
    | {"chunkwise_kernel": "chunkwise--native_autograd", "sequence_kernel": "native_sequence__native"}
    | {"step_kernel": "native"},
}
FAMILIES |= {name: (name, ANY | sizes, "gpt") for name, sizes in OTHERS.items()}


def tokenizer(kind: str) -> Any:
    """A byte-level tokenizer of a kind."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    about = dict(KINDS[kind])
    specials, template = about.pop("specials"), about.pop("template", None)
    opens, closes = about.pop("opens", None), about.pop("closes", None)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    texts = [" ".join(WORDS[at:] + WORDS[:at]) for at in range(len(WORDS))]
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=340, special_tokens=specials, initial_alphabet=alphabet, show_progress=False),
    )
    if opens or closes:
        single = " ".join(part for part in (opens, "$A", closes) if part)
        bpe.post_processor = processors.TemplateProcessing(
            single=single,
            pair=f"{single} $B",
            special_tokens=[(each, bpe.token_to_id(each)) for each in (opens, closes) if each],
        )
    made = PreTrainedTokenizerFast(tokenizer_object=bpe, additional_special_tokens=specials, **about)
    made.chat_template = template
    return made


def build(
    folder: Path,
    family: str,
    *,
    kind: str = "",
    generation: dict[str, Any] | None = None,
    spread: float = 0.2,
    **changes: Any,
) -> Path:
    """A model of a family in a folder, as its owner would publish it.

    Args:
        kind: Of its tokenizer; empty: what the family has.
        generation: What its ``generation_config.json`` says beside the ends; None values are left out.
        spread: Standard deviation of its weights, so large that it writes different things to different prompts.
        changes: Of its configuration.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    architecture, sizes, own = FAMILIES.get(family) or (family, ANY | REFUSED[family], "gpt")
    made = tokenizer(kind or own)
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(0)
    config = AutoConfig.for_model(architecture, vocab_size=len(made), **{**sizes, **changes})
    config.bos_token_id, config.eos_token_id = made.bos_token_id, made.eos_token_id
    if getattr(config, "pad_token_id", None) is not None and config.pad_token_id >= len(made):
        config.pad_token_id = None
    if getattr(config, "initializer_range", None):
        config.initializer_range = spread
    model: Any = AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(folder)
    said = {"eos_token_id": made.eos_token_id, "bos_token_id": made.bos_token_id, **(generation or {})}
    path = folder / "generation_config.json"
    path.write_text(json.dumps({name: value for name, value in said.items() if value is not None}))
    made.save_pretrained(folder)
    return folder


def trainer(folder: Path, base_model: Path, **options: Any) -> LocalTrainer:
    store = ModelStoreResource(root=str(folder / "store"), cache=str(folder / "cache"))
    return LocalTrainer(store=store, base_model=str(base_model), **options)


def plain_loop(model: LanguageModel, prompts: Sequence[Any], most: int, temperature: float, seed: int) -> list[str]:
    """What a model writes when each row is computed alone, anew for each token, with the noise that prompts share."""
    import torch

    rows = [model.texts.prompt(prompt) for prompt in prompts]
    written: list[list[int]] = [[] for _ in rows]
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        for _ in range(most):
            logits = [
                model.model(input_ids=torch.tensor([row + so_far]), use_cache=False).logits[0, -1].float()
                for row, so_far in zip(rows, written, strict=True)
            ]
            gumbel = -(-torch.rand((len(rows), logits[0].shape[-1]), generator=generator).log()).log()
            for index, so_far in enumerate(written):
                if not so_far or so_far[-1] not in model.texts.ends:
                    so_far.append(int((logits[index] / temperature + gumbel[index]).argmax()))
    return model.texts.written(written)
