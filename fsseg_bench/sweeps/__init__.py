"""Many runs planned once, made by several engines, and followed by their records."""
