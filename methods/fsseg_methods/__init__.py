"""Few-shot segmentation methods: one file a method, found by name (see methods/README.md)."""
