"""Which home it is, and the Dagster instance that is its own.

Belongs here: identity, versions, where the instance lies. Does not belong here: what is in a home's tables (see ``warehouse``).
Nothing here imports Dagster: commands that only look start without.
"""
