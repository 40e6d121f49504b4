"""What runs on the machines of a gang: agent, template, launcher, ranks. Standard library, core and client only."""
