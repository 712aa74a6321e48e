"""Few-shot segmentation methods: one file a method, found by name (see docs/extending/method.md)."""
