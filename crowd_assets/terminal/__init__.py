"""How a terminal is written to: tables, log lines, the end of a command.

Belongs here: printing. Does not belong here: what is printed.
"""
