"""The capacity planner: measured times in, replicas and limits out. The server never imports it."""
