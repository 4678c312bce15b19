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
        "Contrast two views of a sample with all other samples of the batch (NT-Xent).",
        "Chen et al. 2020, arXiv:2002.05709",
        title="SimCLR",
    ),
    _spec(
        "dcl",
        "dcl:RECIPE",
        "Decoupled contrastive loss: NT-Xent without the positive in the denominator, for small batches.",
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
        "Contrast a view with the momentum encoder's other view and a queue of negatives (InfoNCE).",
        "Chen et al. 2020, arXiv:2003.04297",
        title="MoCo v2",
    ),
    _spec(
        "mocov3",
        "moco:MOCOV3",
        "Contrast with a momentum encoder within the batch, with a predictor and without a queue.",
        "Chen et al. 2021, arXiv:2104.02057",
        title="MoCo v3",
    ),
    _spec(
        "clip",
        "clip:RECIPE",
        "Match the two views of a sample within the batch in both directions, with a learned temperature.",
        "Radford et al. 2021, arXiv:2103.00020",
        title="CLIP",
    ),
    _spec(
        "siglip",
        "siglip:RECIPE",
        "Classify each pair of views in the batch as matching or not, with a sigmoid loss.",
        "Zhai et al. 2023, arXiv:2303.15343",
        title="SigLIP",
    ),
    _spec(
        "correspondence",
        "correspondence:RECIPE",
        "Classify whether two views are of the same sample or of different ones, with a small head.",
        "Arandjelovic & Zisserman 2017, arXiv:1705.08168",
    ),
    _spec(
        "byol",
        "byol:RECIPE",
        "Predict the momentum encoder's projection of the other view, without negatives.",
        "Grill et al. 2020, arXiv:2006.07733",
        title="BYOL",
    ),
    _spec(
        "simsiam",
        "simsiam:RECIPE",
        "Predict the projection of the other view, with stop-gradient and without negatives.",
        "Chen & He 2020, arXiv:2011.10566",
        title="SimSiam",
    ),
    _spec(
        "barlow-twins",
        "barlow_twins:RECIPE",
        "Make the cross-correlation matrix of two views' embeddings the identity.",
        "Zbontar et al. 2021, arXiv:2103.03230",
        title="Barlow Twins",
    ),
    _spec(
        "vicreg",
        "vicreg:RECIPE",
        "Regularise two views' embeddings: invariance, variance and covariance.",
        "Bardes et al. 2021, arXiv:2105.04906",
        title="VICReg",
    ),
    _spec(
        "vicregl",
        "vicregl:RECIPE",
        "Apply VICReg to whole embeddings and to tokens matched by location and by similarity.",
        "Bardes et al. 2022, arXiv:2210.01571",
        title="VICRegL",
        compares_tokens=True,
    ),
    _spec(
        "swav",
        "swav:RECIPE",
        "Predict the cluster assignment of one view from the other views (Sinkhorn codes, multi-crop).",
        "Caron et al. 2020, arXiv:2006.09882",
        title="SwAV",
    ),
    _spec(
        "dino",
        "dino:RECIPE",
        "Match the output of a momentum teacher (centred, sharpened) across global and local views.",
        "Caron et al. 2021, arXiv:2104.14294",
        title="DINO",
    ),
    _spec(
        "distill",
        "distill:RECIPE",
        "Regress the embeddings of a frozen, trained encoder (the teacher); the student may be smaller.",
        "Hinton et al. 2015, arXiv:1503.02531; Romero et al. 2014, arXiv:1412.6550 (FitNets)",
        needs_teacher=True,
    ),
    _spec(
        "tico",
        "tico:RECIPE",
        "Align two views and decorrelate embeddings by a moving average of their covariance.",
        "Zhu et al. 2022, arXiv:2206.10698",
        title="TiCo",
    ),
    _spec(
        "lejepa",
        "lejepa:RECIPE",
        "Align views and make embeddings an isotropic Gaussian (SIGReg), without a teacher.",
        "Balestriero & LeCun 2025, arXiv:2511.08544",
        title="LeJEPA",
    ),
]
