"""Which column plays which role, and what labels are."""
