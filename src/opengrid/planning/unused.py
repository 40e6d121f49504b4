"""What the original Grid took and machines of one's own have no use for: taken here too, and said to have no effect."""

#: Option of `grid run` → why it has no effect.
UNUSED = {
    "memory": "an experiment has the disk of its machine",
    "scratch_size": "an experiment has the disk of its machine",
    "scratch_mount_path": "an experiment has the disk of its machine",
    "ignore_warnings": "no warning keeps a run from starting",
}
