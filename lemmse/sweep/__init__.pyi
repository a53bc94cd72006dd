# The public names: `__init__.py` imports each when it is first used, type checkers read them here.
from .execute import sweep as sweep
from .grid import grid_points as grid_points
from .grid import read_grid as read_grid
from .runs import Plan as Plan
from .table import collect as collect
from .table import read_table as read_table
