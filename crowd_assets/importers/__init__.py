"""Other tools' exports, converted to feedback files: ``crowd-rounds import FORMAT SOURCE --out FOLDER``.

Belongs here: one module a format (``goemotions``, ``convincing_arguments``, ``trl_preference``,
``trl_prompt_completion``, ``ultrafeedback``, ``label_studio``, ``argilla``, ``table``), each with one
``read(source, …)`` that yields events, skipped rows and notes in the types of ``records``; ``rows`` opens the files
they come in, ``writer`` puts the result where the inbox finds it.
Does not belong here: validation of feedback (see ``resources.feedback.events`` and ``crowd_assets.quality``), which every
event passes however it arrived.
"""
