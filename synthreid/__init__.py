"""The embedded synthetic benchmark: drawn people in street scenes, with ground truth for parts and occlusion."""
