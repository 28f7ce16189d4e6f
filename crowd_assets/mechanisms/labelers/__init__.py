"""Aggregates of labelers' reports, one rule a module, and the table of those that a round can run.

Belongs here: mathematics on reports and outcomes. Does not belong here: reading them (see ``crowd_assets.round.labelers``).
"""
