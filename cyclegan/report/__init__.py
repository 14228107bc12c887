"""Reports of runs as HTML pages: one run, or several side by side.

Only the records in the run directories are read, and neither torch nor a model is loaded, so that a page can be made on
any machine in seconds.
"""

from cyclegan.report.comparison import Comparison, compare, write_comparison
from cyclegan.report.page import write_report
from cyclegan.report.run_record import RunRecord, read_record

__all__ = ["Comparison", "RunRecord", "compare", "read_record", "write_comparison", "write_report"]
