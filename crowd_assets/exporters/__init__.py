"""The platform's own files for other tools: ``crowd-rounds exchange FORMAT SOURCE --out FOLDER``.

Belongs here: one module a tool (``label_studio``, ``argilla``, ``tables``, ``trl``), pure functions from rows to what
the tool loads; ``outbox`` reads comparison tasks, ``exchange`` trades them with a Label Studio server for judgements.
Does not belong here: reading what comes back (see ``crowd_assets.importers``), models (see ``crowd_assets.exporters.model``).
"""
