"""What is claimed of released checkpoints, beside what was measured with them."""
