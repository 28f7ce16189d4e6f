"""Names of assignments, and what the gate looks at of a judgement on one.

Belongs here: how the platform's own comparisons are named, and the columns that stand beside those of an event while the gate looks.
Does not belong here: who is asked what (see ``crowd_assets.round.assignment``).
"""

PUBLISHED_NAME = r"^r\d{6,}-[0-9a-f]{16}$"
"""Names of comparisons that the platform published, and of assignments."""

ASKED, FOR_THEM, ASSIGNED, NOT_PAUSED = "asked", "for_them", "assigned", "not_paused"
"""Columns: the comparison that an assignment stands for; whether it was for whoever judged; whether anything had to be assigned, and was;
whether whoever judged may."""
