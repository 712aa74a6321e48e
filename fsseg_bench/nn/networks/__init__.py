"""The backbones that come with the package: a file for each, found by its name."""
