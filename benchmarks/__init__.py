"""Speed and size, measured side by side with torchrun in one run; never asserted."""
