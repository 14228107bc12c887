"""Alarms, which say early and in words that a run goes wrong, with a cure. docs/alarms.md explains each."""

from __future__ import annotations

from cyclegan.training.alarms.alarm import Alarm, Finding, Observation, RunInfo
from cyclegan.training.alarms.monitor import AlarmMonitor, Restart, StoppedByAlarm
from cyclegan.training.alarms.registry import ALARMS

__all__ = ["ALARMS", "Alarm", "AlarmMonitor", "Finding", "Observation", "Restart", "RunInfo", "StoppedByAlarm"]
