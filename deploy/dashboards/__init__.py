"""The Grafana dashboards, written down as queries; their JSON goes into the chart."""
