"""The desk: web pages on which people write, compare, offer, and see what they earned; and on which an operator looks after them.

The desk stands beside the rounds. It reads what rounds publish (the outbox, the snapshot of the warehouse), keeps who takes part and what
was sent in a database of its own, and writes files of feedback into the inbox like any other tool: no round depends on it.

Belongs here: people, forms, pages, the way of a form into the inbox. Does not belong here: what becomes of feedback (see
``crowd_assets.round``), how a statement is made (see ``crowd_assets.report``).
"""
