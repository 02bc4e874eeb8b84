"""What can go wrong with clusters."""
