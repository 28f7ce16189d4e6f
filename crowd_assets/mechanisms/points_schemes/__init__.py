"""Points schemes: what the points of an epoch go by, one module a member (see ``table``)."""
