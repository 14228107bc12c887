"""Alarms: what says early, in words, that a run goes wrong, and what to do about it. docs/alarms.md explains each."""

from __future__ import annotations

from cyclegan.training.alarms.alarm import Alarm, Facts, Finding, Moment
from cyclegan.training.alarms.monitor import Alarms, Restart, Stopped
from cyclegan.training.alarms.registry import ALARMS

__all__ = ["ALARMS", "Alarm", "Alarms", "Facts", "Finding", "Moment", "Restart", "Stopped"]
