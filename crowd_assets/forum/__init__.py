"""The embedded forum: words, the comments put together from them, and the recipe of the seed models.

Belongs here: texts that come along. Does not belong here: simulated people (see ``crowd_assets.simulation``).
"""
