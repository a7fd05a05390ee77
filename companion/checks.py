"""Claims that a computation on the paper's main model decides, without any record."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from companion.study import Study
from companion.trained import initial
from companion.words import Status


def holds(condition: bool) -> Status:
    """The verdict of a claim that a computation decides."""
    return Status.HOLDS if condition else Status.FAILS


def reads_no_labels(study: Study, *, training: bool = True) -> tuple[Status, str]:
    """Whether the paper's main model is the same without part labels.

    Args:
        training: its embeddings and losses in training too, not only its embeddings at test time.
    """
    run = study.run(study.paper.main).vary(weights=None)  # whatever the weights
    model, random = initial(run, identities=2), torch.Generator().manual_seed(0)
    height, width = run.data.height, run.data.width
    images = torch.rand(4, 3, height, width, generator=random)
    masks = torch.rand(4, (run.model_config.mask_parts or 1) + 1, height // 4, width // 4, generator=random)
    known = {"embeddings at test time": _same_embeddings(model.eval(), images, masks=masks)}
    if training:
        known["losses in training"] = _same_losses(model.train(), images, masks=masks)
    told = [
        f"{what} with and without part labels are {'equal' if same else 'different'}"
        for what, same in known.items()
    ]
    return holds(all(known.values())), ", ".join(told)


@torch.inference_mode()
def _same_embeddings(
    model: nn.Module, images: Float[Tensor, "N 3 H W"], *, masks: Float[Tensor, "N M _ _"]
) -> bool:
    without, given = model(images).embeddings, model(images, masks).embeddings
    return all(torch.equal(without[name], given[name]) for name in without)


@torch.inference_mode()
def _same_losses(
    model: nn.Module, images: Float[Tensor, "4 3 H W"], *, masks: Float[Tensor, "4 M _ _"]
) -> bool:
    labels, found = torch.tensor([0, 0, 1, 1]), []
    for given in (None, masks):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # dropout draws alike
            found.append(model.loss(model(images, given), labels, masks=given))
    without, given = found
    return without.keys() == given.keys() and all(torch.equal(without[name], given[name]) for name in without)
