"""A reproducible companion to five papers on (occluded) person re-identification."""
