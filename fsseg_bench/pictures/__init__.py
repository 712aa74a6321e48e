"""Labels and predictions drawn over images, as arrays; nothing here needs torch."""
