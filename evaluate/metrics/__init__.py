"""Metrics of frames, segments (mAP@IoU), videos and classes, with bootstrap intervals."""
