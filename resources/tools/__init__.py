"""Other tools: Label Studio, Great Expectations, Dagster's history and private parts.

Belongs here: calling them. Does not belong here: what is asked of them.
"""
