"""Measuring the live path: where its time goes, stage by stage and from glass to glass."""
