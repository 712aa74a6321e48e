"""Trainings followed elsewhere: what is in the training log goes to TensorBoard and the like, too."""
