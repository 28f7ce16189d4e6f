"""Models: the store, the trainer and the embedder of this process, and their bases.

Belongs here: naming, storing and calling models. Does not belong here: tensors (see ``resources.training``).
"""
