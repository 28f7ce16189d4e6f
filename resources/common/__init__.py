"""What every part of ``resources`` may use: errors, locks, progress, plain text, members of families."""
