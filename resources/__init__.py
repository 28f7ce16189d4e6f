"""What a round talks to: warehouse, frames, model store, inbox and outbox, embedder, trainer, data quality, settings.

Belongs here: everything with a file, a table, a lock, a model or a clock behind it.
Does not belong here: what a round *does* with them (see ``crowd_assets``) and what starts one (see ``sensors``);
nothing in this package imports either.
"""
