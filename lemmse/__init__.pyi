# The public names: `__init__.py` imports each when it is first used, type checkers read them here.
from .analysis.metrics import psnr as psnr
from .analysis.sampling import sample as sample
from .data.sets import load_images as load_images
from .engines.progress import progress_bars as progress_bars
from .estimators.affine import AffineMMSE as AffineMMSE
from .estimators.blind import BlindMMSE as BlindMMSE
from .estimators.emmse import EquivariantMMSE as EquivariantMMSE
from .estimators.lemmse import LocalEquivariantMMSE as LocalEquivariantMMSE
from .estimators.mmse import MMSE as MMSE
from .estimators.posterior import PartialSum as PartialSum
from .estimators.posterior import Posterior as Posterior
from .estimators.stein import stein_error as stein_error
from .networks.architectures import PatchMLP as PatchMLP
from .networks.architectures import ResNet as ResNet
from .networks.architectures import UNet as UNet
from .networks.probe import Probe as Probe
from .networks.probe import probe as probe
from .networks.training import train as train
from .physics.base import Physics as Physics
from .physics.downsampling import Downsampling as Downsampling
from .physics.general import Linear as Linear
from .physics.general import Nonlinear as Nonlinear
from .physics.operators import Blur as Blur
from .physics.operators import Denoising as Denoising
from .physics.operators import FourierSampling as FourierSampling
from .physics.operators import Inpainting as Inpainting
from .report.explain import explain as explain
from .report.explanation import Explanation as Explanation

__version__: str
