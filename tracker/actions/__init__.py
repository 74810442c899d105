"""What is done with what is kept: one verb a file."""
