"""Backbones of other libraries, by the names that these give them: imported when one is asked for."""
