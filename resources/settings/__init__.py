"""Settings: a section a module, joined in ``settings``, as a resource of the graph in ``resource``.

Belongs here: fields and what they know of themselves. Does not belong here: what a setting does to a round.
"""
