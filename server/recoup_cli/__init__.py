"""The command line: composes settings, plugins, policies, server and workers into processes and answers."""
