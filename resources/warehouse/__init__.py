"""The warehouse: a base, DuckDB's and PostgreSQL's as siblings, the schema, and readers that wait for nobody.

Belongs here: tables and transactions. Does not belong here: bulk frames (see ``resources.files``).
"""
