"""Settings: how candidates are trained and the winner is aligned.

Belongs here: those fields, and what is made of them alone. Does not belong here: what a setting does to a round.
"""

from pydantic import BaseModel

from resources.settings.fields import setting


class Training(BaseModel):
    """How candidates are trained and the winner is aligned."""

    learning_rate: float = setting(
        default=5e-3, gt=0, description="Peak learning rate of a candidate's LoRA adapter.", shown="yes"
    )
    epochs: int = setting(
        default=4, ge=1, description="Passes of a candidate over its group's demonstrations.", shown="yes"
    )
    batch_size: int = setting(default=16, ge=1, description="Demonstrations or pairs in a training step.", shown="yes")
    lora_rank: int = setting(default=8, ge=1, description="Rank of the LoRA adapters.", shown="yes")
    lora_alpha: int = setting(
        default=16, ge=1, description="Scale of the LoRA adapters: updates are multiplied by alpha/rank.", shown="yes"
    )
    max_tokens: int = setting(
        default=256, ge=8, description="Longest prompt and response together, in tokens; the rest is cut.", shown="yes"
    )
    held_out_demonstrations: float = setting(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of a group's demonstrations on which its candidate's loss is measured after each epoch; it is kept "
        "as it was at its lowest. 0: as the last step leaves it, which comes closer to the target with the embedded models.",
        shown="yes",
    )
    patience: int = setting(
        default=2,
        ge=1,
        description="Epochs in a row without a lower held-out loss after which a candidate stops.",
        shown="yes",
    )
    fused_candidates: int = setting(
        default=8,
        ge=1,
        description="Candidates trained in one pass over the base, each as it would be alone. 1 trains every candidate in a "
        "step of its own, for models that do not fit together on a device.",
        shown="yes",
        per_run=False,
    )
    tokens_per_pass: int = setting(
        default=0,
        ge=0,
        description="Tokens, padding counted, in one forward pass of training; larger steps are split and accumulate "
        "gradients. 0: 1,024 on a CPU, where the cache counts, and 65,536 on a GPU.",
        shown="yes",
    )
    gradient_checkpointing: bool = setting(
        default=False,
        description="Compute activations again in the backward pass of candidates: less memory, more time.",
        shown="yes",
    )
    compile: bool = setting(
        default=False,
        description="Compile the base model's blocks while candidates train (torch.compile). It takes a C++ compiler and, the "
        "first time, about a minute; with the embedded model on a CPU it gains nothing.",
        shown="yes",
    )
    alignment_beta: float = setting(
        default=0.1, gt=0, description="β of QA-DPO: how closely the reference model is kept.", shown="yes"
    )
    alignment_learning_rate: float = setting(
        default=5e-3, gt=0, description="Peak learning rate of QA-DPO.", shown="yes"
    )
    alignment_epochs: int = setting(
        default=3, ge=1, description="Passes of QA-DPO over the training pairs.", shown="yes"
    )
    alignment_min_pairs: int = setting(
        default=8, ge=2, description="Decided pairs below which QA-DPO is left out.", shown="yes"
    )
    alignment_holdout: float = setting(
        default=0.33,
        gt=0,
        lt=1,
        description="Share of the pairs on which the aligned model's accuracy is measured.",
        shown="yes",
    )
