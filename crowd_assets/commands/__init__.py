"""The command line: one module a family of commands, and what they share.

Belongs here: options, help, and calling what does the work. Does not belong here: the work itself.
"""
