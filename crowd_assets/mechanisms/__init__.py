"""Mechanisms of a round as pure functions: arrays and a ``numpy.random.Generator`` in, arrays or frozen
dataclasses out.

Belongs here: grouping, points, Shapley values, labelers, auctions, targets, preferences, ledger
entries.
Does not belong here: Dagster, torch, files, tables, the clock, or anything else of this project.
"""
