"""What proves the deployment files without a cluster: tools, schemas and where they come from."""
