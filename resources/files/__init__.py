"""Files: storage, frames, and what steps hand on.

Belongs here: writing whole files or none. Does not belong here: what is in them.
"""
