"""Getting the data: what is needed, downloading, unpacking, and proof that the result is what a protocol means."""
