"""What pmms and rpmms share."""
