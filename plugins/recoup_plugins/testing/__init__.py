"""What helps authors to test a plugin: a proxy that breaks what passes through it, and fixtures of pytest."""
