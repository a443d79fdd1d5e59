"""Periodic work and the administrator's tools: housekeeping, alarms, audit trail, backup, doctor."""
