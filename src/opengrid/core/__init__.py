"""What everything else speaks of: values, names, errors, messages. Standard library only."""
