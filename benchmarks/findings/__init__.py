"""Findings: figures against their targets, the machine they are from, and how both are shown."""
