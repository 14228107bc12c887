"""Runs as pages to look at: one run, or several beside each other. Reads run directories and nothing else.

Knows neither torch nor models: a page is made of what a run has written down, on any machine, in seconds.
"""

from cyclegan.report.comparison import Comparison, compare, write_comparison
from cyclegan.report.page import write_report
from cyclegan.report.run_record import RunRecord, read_record

__all__ = ["Comparison", "RunRecord", "compare", "read_record", "write_comparison", "write_report"]
