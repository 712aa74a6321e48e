"""Parts of dan."""
