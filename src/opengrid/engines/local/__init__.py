"""The engine for this computer: agents are detached processes."""
