"""What a run leaves on disk. No torch here."""
