"""The rules of a benchmark: specification, folds, episodes, scores and their uncertainty. No torch here."""
