"""The routes, one module per resource; each handler reads, calls one flow or list, and answers."""
