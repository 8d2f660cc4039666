"""What transfers and runs left on disk, as one page for people."""
