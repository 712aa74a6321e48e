"""Tables from records. No torch here."""
