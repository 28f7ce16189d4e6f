"""What an operator does to a home as a whole: audit, doctor, backup, erasure, retention, migration.

Belongs here: work over all rounds of a home. Does not belong here: a stage of a round (see ``crowd_assets.round``).
"""
