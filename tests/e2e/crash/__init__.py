"""The crash harness: whole rounds in processes that are killed, started again and compared with an undisturbed campaign.

Belongs here: the stub trainer, the points at which a process dies, lives, campaigns and what must hold after each. Does not
belong here: one round killed once with real models (see ``test_killed_daemon`` and ``tests.e2e.test_two_processes``).
"""
