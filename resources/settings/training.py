"""Settings: how candidates are trained and the winner is aligned.

Belongs here: those fields, and what is made of them alone. Does not belong here: what a setting does to a round.
"""

from pydantic import BaseModel

from resources.settings.fields import setting

EMBEDDED_RATE = 5e-3  # found by benchmarks.learning_rate


class Training(BaseModel):
    """How candidates are trained and the winner is aligned."""

    learning_rate: float = setting(
        default=0.0,
        ge=0,
        earlier=EMBEDDED_RATE,
        description="Peak learning rate of a candidate's LoRA adapter. 0: 0.005 for the embedded model; for any other model the first "
        "round tries five rates on one group, and the home keeps the rate found.",
        shown="yes",
    )
    epochs: int = setting(
        default=4,
        ge=1,
        description="Number of times that a candidate passes over its group's demonstrations.",
        shown="yes",
    )
    batch_size: int = setting(
        default=16, ge=1, description="Number of demonstrations or pairs in a training step.", shown="yes"
    )
    lora_rank: int = setting(
        default=8,
        ge=1,
        description="Rank of the LoRA adapters: a higher rank learns more and takes more memory.",
        shown="yes",
    )
    lora_alpha: int = setting(
        default=16,
        ge=1,
        description="Scale of the LoRA adapters: updates are multiplied by CROWD_LORA_ALPHA/CROWD_LORA_RANK.",
        shown="yes",
    )
    max_tokens: int = setting(
        default=256,
        ge=8,
        description="Tokens that a prompt and its response may have together in training. A longer text is cut.",
        shown="yes",
    )
    held_out_demonstrations: float = setting(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of a group's demonstrations that are kept out of training and measure the candidate's loss after "
        "each epoch; the candidate is the adapter with the lowest loss. 0 holds out nothing and takes the adapter "
        "after the last step, which comes closer to the target with the embedded models.",
        shown="yes",
    )
    patience: int = setting(
        default=2,
        ge=1,
        description="Number of epochs in a row without a lower held-out loss after which a candidate stops training. Without "
        "CROWD_HELD_OUT_DEMONSTRATIONS no candidate stops early.",
        shown="yes",
    )
    fused_candidates: int = setting(
        default=8,
        ge=1,
        description="Number of candidates trained in one pass over the base model, each with the result that training alone "
        "gives. 1 trains every candidate in a step of its own, for models of which several do not fit on a device.",
        shown="yes",
        per_run=False,
    )
    tokens_per_pass: int = setting(
        default=0,
        ge=0,
        description="Tokens in one forward pass of training, padding counted. A larger step is split into passes that add up "
        "their gradients. 0 takes 1,024 on a CPU, for its cache, and 65,536 on a GPU.",
        shown="yes",
    )
    gradient_checkpointing: bool = setting(
        default=False,
        description="Whether candidates compute activations again in the backward pass, which takes less memory and more time.",
        shown="yes",
    )
    scale_down: bool = setting(
        default=True,
        earlier=False,
        description="Whether a base model of one's own is measured on half of the texts, and values are found with one seed, first order "
        "and 16 texts, where CROWD_SELECTION_SAMPLES, CROWD_REPORT_SAMPLES and CROWD_VALUE_* stand at their defaults, which are right for "
        "the embedded model.",
        shown="yes",
    )
    compile: bool = setting(
        default=False,
        description="Whether the base model's blocks are compiled by torch.compile while candidates train. Compiling needs a "
        "C++ compiler and about a minute the first time; the embedded model on a CPU gains nothing.",
        shown="yes",
    )
    alignment_beta: float = setting(
        default=0.1,
        gt=0,
        description="β of QA-DPO: a higher value keeps the aligned model closer to the winner that alignment starts from.",
        shown="yes",
    )
    alignment_learning_rate: float = setting(
        default=0.0,
        ge=0,
        earlier=EMBEDDED_RATE,
        description="Peak learning rate of QA-DPO. 0: 0.005 for the embedded model; for any other model the first round with enough "
        "pairs finds the rate (CROWD_ALIGNMENT_TRIALS).",
        shown="yes",
    )
    alignment_trials: int = setting(
        default=4,
        ge=0,
        le=5,
        earlier=0,
        description="Number of rates that are tried for QA-DPO, once a home, where CROWD_ALIGNMENT_LEARNING_RATE is 0 and the base model is "
        "one's own: a third, a tenth, … of the candidates' rate, on at most 64 pairs; the one with the least loss of pairs kept out is taken, "
        "of those that forget little. 0 takes a twentieth of the candidates' rate without trials.",
        shown="yes",
    )
    alignment_epochs: int = setting(
        default=3, ge=1, description="Number of times that QA-DPO passes over the training pairs.", shown="yes"
    )
    judgement_values: bool = setting(
        default=True,
        earlier=False,
        description="Whether a round with an aligned model works out what each labeler's judgements added to the model: a value that is "
        "reported and not paid. Takes up to as long as QA-DPO's training.",
        shown="yes",
    )
    alignment_min_pairs: int = setting(
        default=8,
        ge=2,
        description="Number of decided pairs that QA-DPO needs. A round with fewer pairs has no aligned model.",
        shown="yes",
    )
    alignment_holdout: float = setting(
        default=0.33,
        gt=0,
        lt=1,
        description="Share of the pairs that are kept out of QA-DPO and measure the aligned model's accuracy.",
        shown="yes",
    )
