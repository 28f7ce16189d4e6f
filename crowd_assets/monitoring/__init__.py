"""What runs and what came of it, at a glance: status, leaderboard, metrics, traces.

Belongs here: reading without waiting for a lock. Does not belong here: pages (see ``crowd_assets.report``).
"""
