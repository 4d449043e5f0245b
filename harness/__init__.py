"""The engine: core types, configuration, store, pipeline, metrics, evidence, gate, report, tracking, command line."""
