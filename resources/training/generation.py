"""What a model writes: batched sampling with a KV cache, on random numbers that are common to all models.

Belongs here: generation. Does not belong here: judging what was generated.
"""

from collections.abc import Callable, Sequence

from resources.training.loading import LanguageModel, seeded
from resources.training.prompting import prompt_ids

Progress = Callable[[int, int], None]


def generate(
    language_model: LanguageModel,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    batch_size: int = 128,
    progress: Progress = lambda done, total: None,
) -> list[str]:
    """One sampled response for each prompt, in their order.

    Each batch is seeded by its number, so models that answer the same prompts draw the same random numbers.

    Args:
        temperature: Above 0; 1 samples from the model's own distribution.
        progress: Called with responses done and in all after each batch.
    """
    import torch

    tokenizer, device = language_model.tokenizer, language_model.device
    rows = [prompt_ids(tokenizer, prompt) for prompt in prompts]
    responses: list[str] = []
    for start in range(0, len(rows), batch_size):
        chosen = rows[start : start + batch_size]
        width = max(map(len, chosen))
        ids = torch.full((len(chosen), width), int(tokenizer.pad_token_id))
        mask = torch.zeros((len(chosen), width), dtype=torch.long)
        for index, row in enumerate(chosen):
            ids[index, width - len(row) :] = torch.tensor(row)
            mask[index, width - len(row) :] = 1
        with seeded(seed + start), torch.inference_mode():
            output = language_model.model.generate(  # type: ignore[operator]  # transformers types it as a tensor
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                max_new_tokens=max_new_tokens,
                do_sample=True,
                temperature=temperature,
                top_k=0,
                top_p=1.0,
                pad_token_id=tokenizer.pad_token_id,
                use_cache=True,
            )
        responses += tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)
        progress(len(responses), len(rows))
    return [response.strip() for response in responses]
