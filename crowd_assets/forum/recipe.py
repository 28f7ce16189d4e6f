"""What the embedded models are made of: the recipe of the seeds, and the comments that they learn from.

Belongs here: counts, seeds, the recipe's name. Does not belong here: training (see ``resources.training.seed``), words (see ``words``).
"""

SEED = 20260101


COMMENTS = 20_000


LABELLED_COMMENTS = 10_000


UNLABELLED_COMMENTS = 1_500


REFERENCE_COMMENTS = 4_000


RECIPE = {
    "seed": SEED,
    "comments": COMMENTS,
    "labelled": LABELLED_COMMENTS,
    "unlabelled": UNLABELLED_COMMENTS,
    "grammar": 1,
}
