"""What a version was made from, what became of it, and whether it can be made again."""
