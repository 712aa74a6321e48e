"""Figures of runs. They need matplotlib, the extra ``plots``; nothing here imports it before a figure is drawn."""
