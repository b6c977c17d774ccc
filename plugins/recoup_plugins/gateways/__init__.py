"""The built-in gateways: `sandbox` (scripted, for tests and demos) and `stripe`."""
