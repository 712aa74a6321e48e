"""PPNet: each class as five part prototypes, on features that also tell the training classes apart.

Title: Part-aware Prototype Network for Few-shot Semantic Segmentation
Authors: Yongfei Liu et al.
Venue: ECCV
Year: 2020
Fidelity: parity
Untrained: works
Transductive: no
Test-time training: none
Extra data: none
Distinctive: k-means over the support's features gives part prototypes; a cell scores with the nearest part.
Differences: this is the inductive model (parts, semantic branch); ppnet-ud adds the graph over unlabelled images.
Differences: void pixels of supports are left out; the authors' code pools them into the background (void_in_bg=true).
Differences: the k-means starts are drawn from the episode's seed; the authors' are not seeded at all.
Differences: novel classes in base-class labels are as the protocol says; the authors': void in the query alone.
Differences: the semantic branch is stepped once an iteration; the authors' optimiser lists its tensors twice.
Differences: the last checkpoint; the authors chose theirs on episodes of the test classes.
Differences: the protocol's training lists and episodes; the authors' PASCAL runs test on images that training saw.
"""

from __future__ import annotations

from fsseg_methods._ppnet.method import _PartMethod


class PPNet(_PartMethod):
    """Scores alpha * max_j cos(query cell, part j), trained with the alignment and the semantic loss."""
