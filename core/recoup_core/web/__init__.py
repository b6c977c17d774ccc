"""The way out to addresses that customers of this installation chose: checked, bounded, and never into our own network.

Whoever may say where we send something could make us speak to machines that only we can reach (server-side request
forgery), directly, by a redirect, or by a name that means another machine a moment later (DNS rebinding).
"""
