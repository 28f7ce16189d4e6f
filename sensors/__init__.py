"""What starts a round: the inbox sensor, the round sensor, the nightly schedule, and what happens when a run fails.

Belongs here: decisions as pure functions, and the sensors that fetch what they need and return what they say.
Does not belong here: the graph. Jobs and partitions are named by string (see ``resources.home.names``); only ``resources``
is imported.
"""
