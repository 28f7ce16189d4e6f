"""torch, transformers and peft behind the trainer: loading, fine-tuning, preference training, generation, embedding.

Belongs here: everything that touches a tensor. Does not belong here: rounds, tables, Dagster.
torch, transformers and peft are imported inside functions: every step's process pays for an import.
"""
