"""Many photographs at once, on one device or on many: what every command on photographs runs."""

from padinv.bulk.module import BulkInversion
from padinv.bulk.naming import output_names
from padinv.bulk.options import BulkOptions
from padinv.bulk.outputs import OutputFolder
from padinv.bulk.running import Report, run
from padinv.bulk.task import Task
from padinv.sources.finding import find_photographs

__all__ = ["BulkInversion", "BulkOptions", "OutputFolder", "Report", "Task", "find_photographs", "output_names", "run"]
