"""Groupings: who trains which candidate of a round, one module a member (see ``table``)."""
