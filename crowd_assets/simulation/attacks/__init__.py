"""Attacks on pay as games: crowds, honest and not, and what each earns.

Belongs here: games against the functions that a round calls. Does not belong here: how figures are shown (``benchmarks.attacks``).
"""
