"""A home moves: its tables to PostgreSQL (``tables``), its files to object storage (``files``), each proven by the audit.

Belongs here: moving what is there. Does not belong here: backups (see ``crowd_assets.backup``), where new things go (see the
settings).
"""
