"""The gate: what feedback must be like, row by row and as a whole, and what happens where it is not.

Belongs here: suites, the quarantine's rules, the verdict on a round.
Does not belong here: running Great Expectations (see ``resources.tools.data_quality``), what one line alone can fail
(see ``resources.feedback.events``).
"""
