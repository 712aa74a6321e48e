"""One's own images: looks at a folder and proposes a protocol for it."""
