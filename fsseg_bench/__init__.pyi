"""The public names: read by type checkers, and by ``__init__.py``, which imports each when it is first used."""

from .api import run as run
from .api import sweep as sweep
from .engine.build import build_method as build_method
from .engine.predict.once import predict as predict
from .engine.predict.predictor import Predictor as Predictor
from .errors import UserError as UserError
from .method import Episode as Episode
from .method import Method as Method
from .method import Prediction as Prediction
from .protocol.load import load_protocol as load_protocol
from .recipe import Recipe as Recipe
from .registry import method_names as method_names
from .report.claims.make import claims as claims
from .report.frames.differences import compare as compare
from .report.frames.episodes import episodes_frame as episodes_frame
from .report.frames.papers import table as table
from .report.frames.runs import results as results
from .report.frames.summary import means as means
from .report.frames.summary import per_class as per_class
from .report.frames.sweeps import sweep_status as sweep_status
from .report.make import make_report as make_report
from .version import __version__ as __version__
