"""Server-sent events: one thread a process looks for changes and feeds any number of clients."""
