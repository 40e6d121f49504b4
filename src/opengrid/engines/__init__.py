"""What starts gangs: one folder per engine, all behind the seam in engine.py."""
