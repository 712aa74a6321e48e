"""Few-shot segmentation methods: one file a method, found by name (see docs/howto/add-method.md)."""
