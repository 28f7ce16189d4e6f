"""Rounds: the book of claims and settlements, attempts, records, the secret.

Belongs here: a round's life in the tables. Does not belong here: what a round computes.
"""
