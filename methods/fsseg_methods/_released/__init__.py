"""Tables of the files that authors released, or that their code writes: a module for each method, by its name.

``RELEASED`` in such a module is what :func:`fsseg_bench.registry.released_of` finds. They lie outside the methods'
files so that a line more in a table changes no method's code, and so no run's identity.
"""
