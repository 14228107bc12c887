"""What scripts/soak.py is made of: setting, rig (one attempt), faults, damages, and judging."""
