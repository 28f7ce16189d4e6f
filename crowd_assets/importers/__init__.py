"""Other tools' exports, converted to feedback files and back.

Belongs here: one module a format. Does not belong here: validation of feedback (see ``resources.feedback`` and
``crowd_assets.quality``), which every event passes however it arrived.
"""
