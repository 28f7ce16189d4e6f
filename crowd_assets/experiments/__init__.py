"""The three papers' figures, reproduced and surpassed: one module an experiment, each an asset of the group ``experiments``.

Belongs here: protocols, figures, plots. Does not belong here: mechanisms, and the simulated crowds that the protocols run
on (see ``crowd_assets.simulation``).
"""
