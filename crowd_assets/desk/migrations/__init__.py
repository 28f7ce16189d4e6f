"""Alembic's steps from one form of the desk's tables to the next."""
