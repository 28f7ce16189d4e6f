"""The stages of a round, one module a stage, in their order:

``seed`` · ``feedback`` · ``labelers`` · ``candidates`` · ``selection`` · ``contributions`` · ``procurement`` · ``report``

Belongs here: thin assets that read, call one mechanism, write, and return metadata that a person wants to look at.
Does not belong here: arithmetic (see ``crowd_assets.mechanisms``), tables and models (see ``resources``).
"""

OWNERS = ["team:crowd"]
