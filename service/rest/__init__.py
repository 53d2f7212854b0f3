"""The HTTP transport: wire types, routes, error shape."""
