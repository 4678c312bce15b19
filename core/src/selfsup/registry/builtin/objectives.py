"""Losses on embeddings."""

from __future__ import annotations

from selfsup.registry.specs import ObjectiveSpec


def _spec(
    id: str,
    target: str,
    summary: str,
    paper: str,
    *,
    title: str = "",
    compares_tokens: bool = False,
    needs_teacher: bool = False,
) -> ObjectiveSpec:
    return ObjectiveSpec(
        id=id,
        target=f"selfsup.objectives.{target}",
        summary=summary,
        paper=paper,
        family="joint-embedding",
        title=title,
        compares_tokens=compares_tokens,
        needs_teacher=needs_teacher,
    )


SPECS: list[ObjectiveSpec] = [
    _spec(
        "simclr",
        "nt_xent:RECIPE",
        "Two views of a sample attract each other and repel all others of the batch (NT-Xent).",
        "Chen et al. 2020, arXiv:2002.05709",
        title="SimCLR",
    ),
    _spec(
        "dcl",
        "dcl:RECIPE",
        "NT-Xent without the positive in its denominator, for small batches.",
        "Yeh et al. 2021, arXiv:2110.06848",
        title="DCL",
    ),
    _spec(
        "cola",
        "cola:RECIPE",
        "Find a sample's other view in the batch by a learned bilinear similarity.",
        "Saeed et al. 2020, arXiv:2010.10915",
        title="COLA",
    ),
    _spec(
        "mocov2",
        "moco:MOCOV2",
        "A query finds its key among a queue of former keys from a momentum network.",
        "Chen et al. 2020, arXiv:2003.04297",
        title="MoCo v2",
    ),
    _spec(
        "mocov3",
        "moco:MOCOV3",
        "A prediction finds its key from a momentum network among those of the batch.",
        "Chen et al. 2021, arXiv:2104.02057",
        title="MoCo v3",
    ),
    _spec(
        "clip",
        "clip:RECIPE",
        "Find a sample's other view in the batch, in both directions, with a learned temperature.",
        "Radford et al. 2021, arXiv:2103.00020",
        title="CLIP",
    ),
    _spec(
        "siglip",
        "siglip:RECIPE",
        "Say of each pair of views in the batch whether it belongs together, by a sigmoid.",
        "Zhai et al. 2023, arXiv:2303.15343",
        title="SigLIP",
    ),
    _spec(
        "correspondence",
        "correspondence:RECIPE",
        "A small head says whether two views are of the same sample, or mixed up.",
        "Arandjelovic & Zisserman 2017, arXiv:1705.08168",
    ),
    _spec(
        "byol",
        "byol:RECIPE",
        "Predict a momentum network's projection of the other view, without negatives.",
        "Grill et al. 2020, arXiv:2006.07733",
        title="BYOL",
    ),
    _spec(
        "simsiam",
        "simsiam:RECIPE",
        "Predict the projection of the other view, through which no gradient flows.",
        "Chen & He 2020, arXiv:2011.10566",
        title="SimSiam",
    ),
    _spec(
        "barlow-twins",
        "barlow_twins:RECIPE",
        "Make the cross-correlation of two views the identity.",
        "Zbontar et al. 2021, arXiv:2103.03230",
        title="Barlow Twins",
    ),
    _spec(
        "vicreg",
        "vicreg:RECIPE",
        "Keep views close, each dimension's variance up and covariances down.",
        "Bardes et al. 2021, arXiv:2105.04906",
        title="VICReg",
    ),
    _spec(
        "vicregl",
        "vicregl:RECIPE",
        "VICReg on whole embeddings and on tokens matched by feature and by place.",
        "Bardes et al. 2022, arXiv:2210.01571",
        title="VICRegL",
        compares_tokens=True,
    ),
    _spec(
        "swav",
        "swav:RECIPE",
        "Predict one view's balanced assignment to prototypes from the other views.",
        "Caron et al. 2020, arXiv:2006.09882",
        title="SwAV",
    ),
    _spec(
        "dino",
        "dino:RECIPE",
        "Match a centred and sharpened momentum network from global and local views.",
        "Caron et al. 2021, arXiv:2104.14294",
        title="DINO",
    ),
    _spec(
        "distill",
        "distill:RECIPE",
        "Give the embeddings of a trained encoder, which teaches a (smaller) network and does not change.",
        "Hinton et al. 2015, arXiv:1503.02531; Romero et al. 2014, arXiv:1412.6550 (FitNets)",
        needs_teacher=True,
    ),
    _spec(
        "tico",
        "tico:RECIPE",
        "Keep views close and away from the main directions of past embeddings.",
        "Zhu et al. 2022, arXiv:2206.10698",
        title="TiCo",
    ),
    _spec(
        "lejepa",
        "lejepa:RECIPE",
        "Keep views close and their embeddings an isotropic Gaussian (SIGReg), without a teacher.",
        "Balestriero & LeCun 2025, arXiv:2511.08544",
        title="LeJEPA",
    ),
]
