"""What the service talks about: requests, pictures, identities and events. Imports no framework."""
