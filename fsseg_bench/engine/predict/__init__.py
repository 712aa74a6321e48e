"""One's own images segmented from one's own examples: supports, queries, the model, and what is written."""
