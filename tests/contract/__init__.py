"""Every sink that is reached by HTTP, held against one table of answers."""
