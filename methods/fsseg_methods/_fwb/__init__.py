"""Parts of fwb."""
