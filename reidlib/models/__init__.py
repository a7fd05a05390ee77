"""All models by the slug of their paper; each has ``Config``, ``SCORINGS``, ``loss`` and ``distance``."""

from reidlib.models.aap import AaP
from reidlib.models.bot import BoT
from reidlib.models.bpbreid import BPBreID
from reidlib.models.dpti import DPTI
from reidlib.models.pan import PAN
from reidlib.models.pcb import PCB
from reidlib.models.qpm import QPM

MODELS = {"bot": BoT, "pcb": PCB, "bpbreid": BPBreID, "qpm": QPM, "pan": PAN, "dpti": DPTI, "aap": AaP}
