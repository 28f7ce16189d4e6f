"""What each stage of a round computes, without Dagster: the assets call it, and so does the audit.

Belongs here: frames from frames, by the mechanisms that are set. Does not belong here: mathematics (see ``crowd_assets.mechanisms``),
metadata and plots (see ``crowd_assets.assets``).
"""
