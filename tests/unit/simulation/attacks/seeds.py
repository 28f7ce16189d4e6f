"""How many runs a test of attacks takes the mean of."""

SEEDS = 4
