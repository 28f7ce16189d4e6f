"""The embedded models: how they are trained.

Belongs here: their trainers. Does not belong here: what they learn from (see ``crowd_assets.forum.recipe``).
"""
