"""The operator: turns each TimestreamAggregation into a running recorder."""
