"""The command `grid`: what users type, and what they see."""
