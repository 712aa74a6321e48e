"""What ppnet and ppnet-ud share: part prototypes, the semantic branch, unlabelled images."""
