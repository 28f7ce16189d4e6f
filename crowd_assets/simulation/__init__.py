"""Crowds whose truth is known: the embedded demo, the experiments and the tests draw from them.

Belongs here: the forum's grammar and the simulated contributors.
Does not belong here: anything that a real crowd's round would need.
"""
