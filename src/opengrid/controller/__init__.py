"""Admits experiments, starts gangs, drives generations, ends attempts. Level-triggered and crash-only."""
