"""The asset graph of a round, and the mathematics behind it.

Belongs here: assets, mechanisms, quality gates, importers, simulated crowds, experiments and the command line.
Does not belong here: files, tables, models and other things a round talks to (see ``resources``), and what
starts a round (see ``sensors``).
"""
