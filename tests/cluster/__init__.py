"""Rounds past one machine: on PostgreSQL, S3 and Ray, on real servers that are started here.

Belongs here: tests with the marker ``cluster``, and the servers that they need. Does not belong here: what one process can test
alone (see ``tests.unit``).
"""
