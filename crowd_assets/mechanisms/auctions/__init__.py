"""Auctions that buy the answers which comparisons are made of: a protocol (``base``), one module a member, and ``table``."""
