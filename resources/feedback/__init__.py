"""Feedback as it arrives and as it is kept: kinds, events, inbox, outbox, pseudonyms.

Belongs here: taking events in, exactly once. Does not belong here: judging them (see ``crowd_assets.quality``).
"""
