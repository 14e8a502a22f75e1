"""Who is measured, each in a file and a process of its own."""
