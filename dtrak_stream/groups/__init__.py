"""Groups of training samples (class, artist, source, prompt): read, summed over, ranked."""

from dtrak_stream.groups.options import GroupOptions
from dtrak_stream.groups.read import read_groups
from dtrak_stream.groups.sums import GroupSums, sum_groups
from dtrak_stream.groups.table import REST, GroupTable

__all__ = ["REST", "GroupOptions", "GroupSums", "GroupTable", "read_groups", "sum_groups"]
