"""What it costs to tell other instances, by each way of laying channels over tasks."""
