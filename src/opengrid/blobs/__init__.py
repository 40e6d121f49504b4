"""Bytes by content: where bundles and patches rest."""
