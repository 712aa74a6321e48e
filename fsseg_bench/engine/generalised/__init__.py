"""Generalised few-shot segmentation: base and novel classes labelled at once in whole images."""
